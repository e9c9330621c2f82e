import { readFileSync } from 'node:fs';
import { CheckpointError, readSafetensors, type StoredTensor } from '@espalier/core';
import { describe, expect, it } from 'vitest';
import { blobSource, bytesSource, openCheckpoint, type Checkpoint } from './index.ts';

const read = (file: string) => new Uint8Array(readFileSync(new URL(`../fixtures/${file}`, import.meta.url)));
const open = (file: string) => openCheckpoint(bytesSource(read(file), file));

interface Read {
  readonly shape: readonly number[];
  readonly data: StoredTensor['data'];
}

/** All tensors of a checkpoint, read into one scratch and into memory of their own, which must agree. */
async function all(checkpoint: Checkpoint): Promise<Map<string, Read>> {
  const scratch = new ArrayBuffer(2 ** 20);
  const tensors = new Map<string, Read>();
  for (const [name, tensor] of checkpoint.tensors) {
    new Uint8Array(scratch).fill(0xa5);
    const lent = await tensor.read(scratch);
    const own = await tensor.read();
    expect(lent.buffer).toBe(scratch);
    expect(own).toEqual(lent);
    tensors.set(name, { shape: tensor.shape, data: own });
  }
  return tensors;
}

/** The tensors of a safetensors file, read as a whole. */
function expected(file: string, rename = (name: string) => name): Map<string, Read> {
  return new Map([...readSafetensors(read(file), file).tensors].map(([name, { shape, data }]) => [rename(name), { shape, data }]));
}

describe('files of torch.save give what torch.load gives', () => {
  it.each(['types', 'views', 'training', 'wrapped'].flatMap((name) => [[name, 'zip', 'torch-zip'], [name, 'legacy', 'torch-legacy']] as const))('%s.%s', async (name, kind, format) => {
    const checkpoint = await open(`${name}.${kind}.pt`);
    expect(checkpoint).toMatchObject({ format, name: `${name}.${kind}.pt`, metadata: {} });
    expect(await all(checkpoint)).toEqual(expected(`${name}.expected.safetensors`));
  });

  const lxmert = '../../vl-models/fixtures/lxmert-tiny/model.safetensors';
  const vlbert = '../../vl-models/fixtures/vlbert-tiny/model.safetensors';
  it.each([
    ['lxmert-tiny/pytorch_model.bin', lxmert, (name: string) => name],
    ['lxmert-tiny/model_LXRT.pth', lxmert, (name: string) => `module.${name.replace('lxmert.', 'bert.')}`],
    ['visualbert-tiny/pytorch_model.bin', 'visualbert-tiny/model.safetensors', (name: string) => name],
    ['vlbert-tiny/vl-bert_base_res101_vqa-0004.model', vlbert, (name: string) => `module.${name}`],
  ])('%s', async (file, reference, rename) => {
    expect(await all(await open(file))).toEqual(expected(reference, rename));
  });

  it('safetensors, from a Blob too', async () => {
    const bytes = read('visualbert-tiny/model.safetensors');
    const checkpoint = await openCheckpoint(blobSource(new Blob([bytes]), 'dropped file'));
    expect(checkpoint).toMatchObject({ format: 'safetensors', name: 'dropped file', metadata: { format: 'pt' } });
    expect(await all(checkpoint)).toEqual(expected('visualbert-tiny/model.safetensors'));
  });
});

describe('other files are named, with a remedy', () => {
  const ascii = (text: string) => new TextEncoder().encode(text);
  const tar = new Uint8Array(1024);
  tar.set(ascii('./model'));
  tar.set(ascii('ustar'), 257);
  it.each<[string, Uint8Array, string]>([
    ['nothing', new Uint8Array(0), 'the file is empty'],
    ['an LFS pointer', ascii('version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n'), 'git lfs pull'],
    ['HDF5', Uint8Array.of(0x89, 0x48, 0x44, 0x46, 13, 10), 'HDF5 (tf_model.h5)'],
    ['a tar', tar, 'tar -xf'],
    ['gzip', Uint8Array.of(0x1f, 0x8b, 8), 'Unpack it first'],
    ['NumPy', Uint8Array.of(0x93, 0x4e, 0x55, 0x4d, 0x50, 0x59), 'NumPy'],
    ['an empty zip', Uint8Array.of(0x50, 0x4b, 5, 6), 'empty or split zip'],
    ['HTML', ascii('\n<!DOCTYPE html><html>'), 'HTML'],
    ['an index', ascii('{"weight_map": {}}'), 'openSharded'],
    ['YAML', ascii('---\nRNG_SEED: 12345\n'), 'is text (YAML, a script?): it begins with "---'],
    ['text that is cut in a letter', ascii(`${'a'.repeat(127)}é`), 'is text'],
    ['anything else', Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8, 9), 'of no kind that is known'],
  ])('%s', async (_, bytes, words) => {
    const opened = openCheckpoint(bytesSource(bytes, 'model.bin'));
    await expect(opened).rejects.toThrow(CheckpointError);
    await expect(opened).rejects.toThrow(words);
    await expect(opened).rejects.toThrow('model.bin: ');
  });
});

it('reading beyond a source throws', async () => {
  for (const source of [bytesSource(new Uint8Array(4), 'four'), blobSource(new Blob([new Uint8Array(4)]), 'four')]) {
    const target = new Uint8Array(3);
    await source.read(1, target);
    await expect(source.read(2, target)).rejects.toThrow('four: bytes 2 to 5 are beyond its 4 bytes');
    await expect(source.read(-1, target)).rejects.toThrow(CheckpointError);
    await expect(source.read(0.5, target)).rejects.toThrow(CheckpointError);
  }
});
