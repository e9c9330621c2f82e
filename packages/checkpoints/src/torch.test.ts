import { readFileSync } from 'node:fs';
import { CheckpointError } from '@espalier/core';
import { describe, expect, it } from 'vitest';
import { bytesOf, call, dict, global, int, legacyFile, op, pickle, storage, tensor, text, tuple, zipFile, type Part, type Stored } from '../fixtures/pickle-bytes.ts';
import { bytesSource, openCheckpoint } from './index.ts';

const open = (bytes: Uint8Array, name = 'test.pt') => openCheckpoint(bytesSource(bytes, name));
const fixture = (file: string) => new Uint8Array(readFileSync(new URL(`../fixtures/${file}`, import.meta.url)));
const four = (key: string): Stored => ({ key, count: 4, bytes: new Uint8Array(Float32Array.of(1, 2, 3, 4).buffer) });

describe.each([
  ['zip', (object: Uint8Array, storages?: readonly Stored[]) => zipFile(object, storages)],
  ['stream', async (object: Uint8Array, storages?: readonly Stored[]) => legacyFile(object, storages)],
])('both containers: %s', (_, container) => {
  const refused = async (object: Part, words: string, storages?: readonly Stored[]) => {
    const opened = open(await container(pickle(object), storages));
    await expect(opened).rejects.toThrow(CheckpointError);
    await expect(opened).rejects.toThrow(words);
    await expect(opened).rejects.toThrow('test.pt: ');
  };
  const names = async (object: Part, storages?: readonly Stored[]) => [...(await open(await container(pickle(object), storages))).tensors.keys()];

  it('the state dict is the object itself, its state_dict or its model', async () => {
    const inner = dict(['w', tensor()]);
    expect(await names(inner)).toEqual(['w']);
    expect(await names(dict(['epoch', int(1)], ['state_dict', inner], ['optimizer', dict(['moment', tensor()])]))).toEqual(['w']);
    expect(await names(dict(['model', inner]))).toEqual(['w']);
    expect(await names(dict(['rng', tensor()], ['model', dict(['v', tensor()])], ['state_dict', inner]))).toEqual(['w']);
    expect(await names(dict(['w', tensor()], ['step', int(3)]))).toEqual(['w']);
    expect(await names(dict(['__proto__', tensor()]))).toEqual(['__proto__']);
  });

  it('a file without a state dict', async () => {
    await refused(op.none, 'holds a None, expected a state dict', []);
    await refused(dict(['epoch', int(3)]), "it holds 'epoch'", []);
    await refused([op.emptyDict, int(3), tensor(), op.setItem], 'a tensor has a number as name');
  });

  it('names that are not allowed, in a state dict or anywhere', async () => {
    await refused(call(global('posix', 'system'), text('echo')), 'refused: posix.system', []);
    await refused(dict(['w', tensor()], ['x', call(global('subprocess', 'Popen'), text('sh'))]), 'refused: subprocess.Popen');
  });

  it('source of a module', async () => {
    await refused([tuple(text('module'), text('Net'), text('import os')), op.persistent], 'refused and never executed', []);
  });

  it('tensors outside of their storage, negative strides', async () => {
    await refused(dict(['w', tensor(storage(), int(0), tuple(int(5)))]), 'reaches value 4');
    await refused(dict(['w', tensor(storage(), int(3), tuple(int(4)), tuple(int(-1)))]), 'negative strides are refused');
  });

  it('storages that are missing or of another size', async () => {
    await refused(dict(['w', tensor()]), '0', []);
    await refused(dict(['w', tensor()], ['v', tensor(storage('1'))]), '1');
    await refused(dict(['w', tensor(storage('0', 4, 'DoubleStorage'))]), '0');
    await refused(dict(['w', tensor(storage('0', 5))]), '5');
  });

  it('tensors of one storage', async () => {
    const { tensors } = await open(await container(pickle(dict(['w', tensor()], ['tied', tensor()], ['last', tensor(storage(), int(2), tuple(int(2)))]))));
    expect(await tensors.get('tied')!.read()).toEqual(Float32Array.of(1, 2, 3, 4));
    expect(await tensors.get('last')!.read()).toEqual(Float32Array.of(3, 4));
  });

  it('scratch that is too small is left alone', async () => {
    const { tensors } = await open(await container(pickle(dict(['w', tensor()]))));
    const scratch = new ArrayBuffer(15);
    expect((await tensors.get('w')!.read(scratch)).buffer).not.toBe(scratch);
    expect(new Uint8Array(scratch)).toEqual(new Uint8Array(15));
  });
});

it.each(['zip', 'legacy'])('a file that would run a command is refused: hostile.%s.pt', async (kind) => {
  await expect(open(fixture(`hostile.${kind}.pt`))).rejects.toThrow('refused: posix.system is no name of a state dict and is never executed');
});

describe('zips', () => {
  const object = pickle(dict(['w', tensor()]));

  it('compressed entries are refused, however much they would hold', async () => {
    const bomb = await zipFile(pickle(dict(['w', tensor(storage('0', 2 ** 22))])), [{ key: '0', count: 2 ** 22, bytes: new Uint8Array(2 ** 24) }], { level: 9 });
    expect(bomb.byteLength).toBeLessThan(2 ** 16);
    await expect(open(bomb)).rejects.toThrow('archive/data/0 is compressed in the zip; torch.save stores it as it is');
  });

  it('zip64 records are read', async () => {
    const { tensors } = await open(await zipFile(object, [four('0')], { zip64: true }));
    expect(await tensors.get('w')!.read()).toEqual(Float32Array.of(1, 2, 3, 4));
  });

  it('byte order', async () => {
    expect((await open(await zipFile(object, [four('0')], { others: { byteorder: 'little' } }))).tensors.size).toBe(1);
    await expect(open(await zipFile(object, [four('0')], { others: { byteorder: 'big' } }))).rejects.toThrow("byteorder is 'big'");
  });

  it('what is no zip of torch.save', async () => {
    const whole = await zipFile(object, [four('0')]);
    await expect(open(whole.subarray(0, whole.length - 30))).rejects.toThrow('the zip cannot be listed');
    const renamed = whole.map((byte, i) => (byte === 0x70 && new TextDecoder().decode(whole.subarray(i, i + 3)) === 'pkl' ? 0x71 : byte));
    await expect(open(renamed)).rejects.toThrow('holds 0 files data.pkl');
    await expect(open(await zipFile(bytesOf(object, 0), [four('0')]))).rejects.toThrow('1 bytes follow the pickle');
    await expect(open(await zipFile(object, [four('0')], { others: { 'constants.pkl': 'x' } }))).rejects.toThrow('is TorchScript');
    await expect(open(await zipFile(object, [four('0')], { others: { '../../outside': 'x' } }))).rejects.toThrow(CheckpointError);
  });

  it('a local header that disagrees with the directory', async () => {
    const whole = await zipFile(object, [four('0')]);
    const at = new TextDecoder('latin1').decode(whole).indexOf('archive/data/0') - 30;
    const { tensors } = await open(whole.with(at + 8, 8));
    await expect(tensors.get('w')!.read()).rejects.toThrow('compressed by its own header');
    const moved = await open(whole.with(at, 0));
    await expect(moved.tensors.get('w')!.read()).rejects.toThrow('has no header');
  });
});

describe('streams', () => {
  const object = pickle(dict(['w', tensor()]));

  it('what is no stream of torch.save', async () => {
    await expect(open(pickle(int(5)))).rejects.toThrow('its first value is 5, not the magic number');
    await expect(open(legacyFile(object, undefined, false))).rejects.toThrow('little-endian machine');
  });

  it('bytes left over, storages that nothing uses or that stand twice', async () => {
    await expect(open(bytesOf(legacyFile(object), 0))).rejects.toThrow('1 bytes follow its last storage');
    await expect(open(legacyFile(object, [four('0'), four('1')]))).rejects.toThrow("storage '1' is listed but used by no tensor");
    await expect(open(legacyFile(object, [four('0'), four('0')]))).rejects.toThrow("storage '0' is listed twice");
    await expect(open(legacyFile(object, [{ ...four('0'), count: 3 }]))).rejects.toThrow('has 3 values');
  });

  it('cut off anywhere', async () => {
    const whole = legacyFile(object);
    for (let length = 1; length < whole.length; length++) await expect(open(whole.subarray(0, length))).rejects.toThrow(CheckpointError);
  });

  it('pickles beyond the first megabyte', async () => {
    const { tensors } = await open(legacyFile(pickle(dict(['note', text('x'.repeat(2 ** 21))], ['w', tensor()]))));
    expect(await tensors.get('w')!.read()).toEqual(Float32Array.of(1, 2, 3, 4));
  });
});
