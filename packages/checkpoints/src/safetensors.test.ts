import { CheckpointError, random, readSafetensors, writeSafetensors, type StoredTensor } from '@espalier/core';
import { describe, expect, it } from 'vitest';
import { bytesSource, openSafetensors, writeSafetensorsTo, type TensorToWrite } from './index.ts';

/** Collects what is written, copied at once as the contract of a sink asks. */
function memorySink() {
  const parts: Uint8Array[] = [];
  const write = async (bytes: Uint8Array) => void parts.push(bytes.slice());
  return { write, bytes: () => Uint8Array.from(parts.flatMap((part) => [...part])) };
}
const one = (dtype: TensorToWrite['dtype'], data: StoredTensor['data'], shape: readonly number[] = [data.length], name = 'x'): TensorToWrite => ({ name, dtype, shape, read: async () => data });
async function written(entries: readonly TensorToWrite[], metadata?: Record<string, string>): Promise<Uint8Array> {
  const sink = memorySink();
  await writeSafetensorsTo(sink, entries, metadata);
  return sink.bytes();
}

const every: readonly (readonly [TensorToWrite['dtype'], StoredTensor['data']])[] = [
  ['U8', Uint8Array.of(1, 255)], ['BOOL', Uint8Array.of(0, 1, 1)], ['I8', Int8Array.of(-128, 127)], ['I16', Int16Array.of(-32768, 7)], ['I32', Int32Array.of(-1)],
  ['I64', BigInt64Array.of(-5n, 2n ** 62n)], ['F64', Float64Array.of(Math.PI)], ['F32', Float32Array.of(1.5, NaN, -0)], ['F16', Float32Array.of(0.5, -65504, 2 ** -24)],
  ['BF16', Float32Array.of(-2, 2 ** -133)], ['F32', new Float32Array(0)],
];

describe('writing', () => {
  it('gives the bytes that core writes', async () => {
    const arrays = every.filter(([dtype]) => !['BOOL', 'F16', 'BF16'].includes(dtype)).map(([, data], i) => [`t${i}`, { shape: [data.length], data }] as const);
    const entries = arrays.map(([name, { shape, data }], i) => one(every.filter(([dtype]) => !['BOOL', 'F16', 'BF16'].includes(dtype))[i]![0], data, shape, name));
    expect(await written(entries, { a: 'b' })).toEqual(writeSafetensors(new Map(arrays), { a: 'b' }));
  });

  it('every type is read back, lazily and as a whole', async () => {
    const bytes = await written(every.map(([dtype, data], i) => one(dtype, data, [data.length], `t${i}`)));
    const whole = readSafetensors(bytes).tensors;
    const { tensors } = await openSafetensors(bytesSource(bytes, 'file'));
    for (const [i, [dtype, data]] of every.entries()) {
      expect(whole.get(`t${i}`)).toEqual({ dtype, shape: [data.length], data });
      expect(tensors.get(`t${i}`)).toMatchObject({ dtype, shape: [data.length] });
      expect(await tensors.get(`t${i}`)!.read()).toEqual(data);
      expect(await tensors.get(`t${i}`)!.read(new ArrayBuffer(64))).toEqual(data);
    }
  });

  it('reads a tensor when its turn comes and asks no other before it is written', async () => {
    const log: string[] = [];
    const entry = (name: string): TensorToWrite => ({ name, dtype: 'F32', shape: [1], read: async () => (log.push(`read ${name}`), Float32Array.of(1)) });
    await writeSafetensorsTo({ write: async (bytes) => void log.push(`write ${bytes.length > 4 ? 'header' : 4}`) }, [entry('b'), entry('a')]);
    expect(log).toEqual(['write header', 'read a', 'write 4', 'read b', 'write 4']);
  });

  it('rounds halves to nearest, ties to even', async () => {
    const halves = [[2049, 2048], [2051, 2052], [1 + 2 ** -11, 1], [1 + 3 * 2 ** -11, 1 + 2 ** -9], [2 ** -25, 0], [2 ** -25 * 1.01, 2 ** -24], [3 * 2 ** -25, 2 ** -23], [65519, 65504], [-0, -0], [2 ** -14 - 2 ** -26, 2 ** -14], [Infinity, Infinity]];
    const brains = [[1 + 2 ** -8, 1], [1 + 3 * 2 ** -8, 1 + 2 ** -6], [-1.005 * 2 ** 127, -(1 + 2 ** -7) * 2 ** 127], [2 ** -149, 0], [-Infinity, -Infinity]];
    for (const [dtype, pairs] of [['F16', halves], ['BF16', brains]] as const) {
      const back = readSafetensors(await written([one(dtype, Float32Array.from(pairs, ([x]) => x!))])).tensors.get('x')!.data;
      expect([...back]).toEqual(pairs.map(([, y]) => y));
      expect(Number(readSafetensors(await written([one(dtype, Float32Array.of(NaN))])).tensors.get('x')!.data[0])).toBeNaN();
    }
  });

  it('a half is the nearest of all halves', async () => {
    const g = random('halves');
    const values = Float32Array.from({ length: 1000 }, () => 65504 * 2 ** (-40 * g.uniform()) * (g.uniform() - 0.5) * 2);
    const back = readSafetensors(await written([one('F16', values)])).tensors.get('x')!.data;
    const half = (bits: number) => (bits < 1024 ? bits * 2 ** -24 : (1 + (bits & 1023) / 1024) * 2 ** ((bits >> 10) - 15));
    const grid = Array.from({ length: 0x7c00 }, (_, bits) => half(bits));
    for (const [i, value] of values.entries()) {
      const magnitude = Math.abs(value);
      const above = grid.findIndex((x) => x >= magnitude);
      const candidates = [grid[Math.max(0, above - 1)]!, grid[above]!];
      const least = Math.min(...candidates.map((x) => Math.abs(x - magnitude)));
      expect(Math.abs(Math.abs(Number(back[i])) - magnitude)).toBe(least);
      expect(Math.sign(Number(back[i])) * Math.sign(value)).toBeGreaterThanOrEqual(0);
    }
  });

  it.each<[string, readonly TensorToWrite[], string]>([
    ['a value too large for F16', [one('F16', Float32Array.of(1, 65520))], "tensor 'x': 65520 at place 1 is too large for F16. Write it as BF16 or F32"],
    ['a value too large for BF16', [one('BF16', Float32Array.of(3.4e38))], 'is too large for BF16. Write it as F32'],
    ['another type', [one('F32', Float64Array.of(1))], 'a Float64Array cannot be written as F32'],
    ['bytes as halves', [one('F16', Uint8Array.of(1))], 'a Uint8Array cannot be written as F16'],
    ['another count', [one('F32', Float32Array.of(1), [2])], "tensor 'x': 1 values for shape [2]"],
    ['a name twice', [one('F32', Float32Array.of(1)), one('F32', Float32Array.of(1))], 'two have this name'],
    ['the name of the metadata', [one('F32', Float32Array.of(1), [1], '__metadata__')], "the format's own"],
    ['a shape beyond all files', [one('F32', Float32Array.of(1), [2 ** 30, 2 ** 30])], 'larger than any file'],
  ])('refuses %s', async (_, entries, words) => {
    await expect(written(entries)).rejects.toThrow(CheckpointError);
    await expect(written(entries)).rejects.toThrow(words);
  });
});

describe('reading lazily', () => {
  it('asks for the header and then for what is wanted', async () => {
    const bytes = writeSafetensors(new Map([['a', { shape: [3], data: Float32Array.of(1, 2, 3) }], ['b', { shape: [1], data: Float32Array.of(4) }]]));
    const source = bytesSource(bytes, 'file');
    const asked: number[] = [];
    const { tensors } = await openSafetensors({ ...source, read: (at, target) => (asked.push(target.byteLength), source.read(at, target)) });
    expect(asked).toEqual([8, bytes.length - 8 - 16]);
    const scratch = new ArrayBuffer(16);
    const read = await tensors.get('a')!.read(scratch);
    expect(read).toEqual(Float32Array.of(1, 2, 3));
    expect(read.buffer).toBe(scratch);
    expect(asked.slice(2)).toEqual([12]);
  });

  it('every prefix of a file is refused', async () => {
    const bytes = writeSafetensors(new Map([['x', { shape: [3], data: Float32Array.of(1, 2, 3) }]]));
    for (let length = 0; length < bytes.length; length++) await expect(openSafetensors(bytesSource(bytes.subarray(0, length), 'cut'))).rejects.toThrow(CheckpointError);
  });
});
