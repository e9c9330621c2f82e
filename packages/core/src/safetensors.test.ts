import { describe, expect, it } from 'vitest';
import type { StoredTensor } from './dtypes.ts';
import { CheckpointError } from './errors.ts';
import { random } from './random.ts';
import { readSafetensors, writeSafetensors } from './safetensors.ts';

/** A file from a header as text or as an object, and data. */
function file(header: unknown, data: Uint8Array = new Uint8Array(0), claimed?: number): Uint8Array {
  const json = new TextEncoder().encode(typeof header === 'string' ? header : JSON.stringify(header));
  const bytes = new Uint8Array(8 + json.length + data.length);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(claimed ?? json.length), true);
  bytes.set(json, 8);
  bytes.set(data, 8 + json.length);
  return bytes;
}
const entry = (dtype: string, shape: readonly number[], from: number, to: number) => ({ dtype, shape, data_offsets: [from, to] });

describe('what is written is read back', () => {
  it('every type that can be written, with metadata', () => {
    const tensors = new Map<string, Omit<StoredTensor, 'dtype'>>([
      ['z.floats', { shape: [2, 3], data: Float32Array.of(1, -0, NaN, Infinity, 1e-45, -3.5) }],
      ['a.doubles', { shape: [1], data: Float64Array.of(Math.PI) }],
      ['integers', { shape: [3], data: Int32Array.of(-1, 0, 2 ** 31 - 1) }],
      ['long', { shape: [2], data: BigInt64Array.of(-5n, 2n ** 62n) }],
      ['shorts', { shape: [2], data: Int16Array.of(-(2 ** 15), 2 ** 15 - 1) }],
      ['signed bytes', { shape: [2], data: Int8Array.of(-128, 127) }],
      ['__proto__', { shape: [1], data: Int32Array.of(8) }],
      ['bytes', { shape: [5], data: Uint8Array.of(1, 2, 3, 4, 255) }],
      ['scalar', { shape: [], data: Float32Array.of(7) }],
      ['empty', { shape: [0, 4], data: new Float32Array(0) }],
    ]);
    const read = readSafetensors(writeSafetensors(tensors, { plugin: 'lora', 'ключ': 'é', ['__proto__']: 'x' }));
    expect(Object.entries(read.metadata)).toEqual([['plugin', 'lora'], ['ключ', 'é'], ['__proto__', 'x']]);
    expect(new Set(read.tensors.keys())).toEqual(new Set(tensors.keys()));
    for (const [name, t] of tensors) expect({ name, shape: read.tensors.get(name)!.shape, data: read.tensors.get(name)!.data }).toEqual({ name, ...t });
  });

  it('any names, shapes and values', () => {
    const g = random('round trips');
    for (let round = 0; round < 50; round++) {
      const tensors = new Map(
        Array.from({ length: g.integer(6) }, (_, i): [string, Omit<StoredTensor, 'dtype'>] => {
          const shape = Array.from({ length: g.integer(4) }, () => g.integer(4));
          const size = shape.reduce((a, b) => a * b, 1);
          const values = Array.from({ length: size }, () => 200 * g.uniform());
          const data = [Float32Array.from(values), Int32Array.from(values), Uint8Array.from(values), Float64Array.from(values)][g.integer(4)]!;
          return [`${'x'.repeat(g.integer(9))}.${i}`, { shape, data }];
        }),
      );
      const bytes = writeSafetensors(tensors);
      const back = readSafetensors(bytes);
      for (const [name, { shape, data }] of tensors) expect(back.tensors.get(name)).toMatchObject({ shape, data });
      expect(writeSafetensors(back.tensors)).toEqual(bytes);
    }
  });

  it('from memory that is not aligned and shared with others, without keeping it', () => {
    const bytes = writeSafetensors(new Map([['x', { shape: [2], data: Float32Array.of(1, 2) }]]));
    const shifted = new Uint8Array(bytes.length + 3);
    shifted.set(bytes, 3);
    const view = shifted.subarray(3);
    const { data } = readSafetensors(view).tensors.get('x')!;
    view.fill(0);
    expect(data).toEqual(Float32Array.of(1, 2));
  });

  it('data begins at a multiple of eight', () => {
    for (const name of ['a', 'ab', 'abc', 'abcd', 'abcde', 'abcdef', 'abcdefg']) {
      const bytes = writeSafetensors(new Map([[name, { shape: [1], data: Float64Array.of(1) }]]));
      expect(new DataView(bytes.buffer).getBigUint64(0, true) % 8n).toBe(0n);
    }
  });

  it('half precision of both kinds becomes float32', () => {
    const halves = Uint16Array.of(0x3c00, 0xc000, 0x0001, 0x03ff, 0x7bff, 0x7c00, 0xfc00, 0x8000);
    const brains = Uint16Array.of(0x3f80, 0xc000, 0x7f80, 0x0001);
    const data = new Uint8Array(24);
    data.set(new Uint8Array(halves.buffer), 0);
    data.set(new Uint8Array(brains.buffer), 16);
    const { tensors } = readSafetensors(file({ h: entry('F16', [8], 0, 16), b: entry('BF16', [4], 16, 24) }, data));
    expect([...tensors.get('h')!.data]).toEqual([1, -2, 2 ** -24, 1023 * 2 ** -24, 65504, Infinity, -Infinity, -0]);
    expect([...tensors.get('b')!.data]).toEqual([1, -2, Infinity, 2 ** -133]);
    expect(Number(readSafetensors(file({ h: entry('F16', [1], 0, 2) }, Uint8Array.of(1, 0x7e))).tensors.get('h')!.data[0])).toBeNaN();
  });
});

describe('malformed files are refused, naming file and tensor', () => {
  const four = new Uint8Array(4);
  const eight = new Uint8Array(8);
  it.each<[string, Uint8Array, string]>([
    ['nothing', new Uint8Array(0), '0 bytes are too few'],
    ['a cut length', new Uint8Array(5), '5 bytes are too few'],
    ['a header longer than the file', file('{}', four, 1000), 'the header claims 1000 bytes of 6'],
    ['an absurd header length', file('{}', four, 2 ** 50), 'the header claims'],
    ['a header that is not JSON', file('{"x":'), 'the header is not JSON'],
    ['a header that is not UTF-8', (() => { const f = file('{}xx'); f.set([0xff, 0xfe], 10); return f; })(), 'the header is not JSON'],
    ['a header that is a list', file('[1]'), 'not an object of tensors'],
    ['metadata that is not text', file({ __metadata__: { a: 1 } }), '__metadata__'],
    ['an unknown type', file({ x: entry('F8', [4], 0, 4) }, four), "tensor 'x'"],
    ['a negative shape', file({ x: entry('F32', [-1], 0, 4) }, four), "tensor 'x'"],
    ['a fractional shape', file({ x: entry('F32', [0.5], 0, 4) }, four), "tensor 'x'"],
    ['missing offsets', file({ x: { dtype: 'F32', shape: [1] } }, four), "tensor 'x'"],
    ['a key too many', file({ x: { ...entry('F32', [1], 0, 4), stride: 1 } }, four), "tensor 'x'"],
    ['offsets of another size', file({ x: entry('F32', [2], 0, 4) }, four), "tensor 'x' [2] F32 needs 8 bytes, its offsets hold 4"],
    ['offsets backwards', file({ x: entry('F32', [1], 4, 0) }, four), "tensor 'x'"],
    ['data cut off', file({ x: entry('F32', [2], 0, 8) }, four), "tensor 'x' ends at byte 8 of 4"],
    ['overlap', file({ x: entry('F32', [1], 0, 4), y: entry('F32', [1], 0, 4) }, four), 'overlap or leave a hole'],
    ['a hole', file({ x: entry('F32', [1], 4, 8) }, eight), "tensor 'x' begins at byte 4 where 0 was expected"],
    ['a shape beyond all files', file({ x: entry('F32', [2 ** 40, 2 ** 40], 0, 4) }, four), 'is larger than any file'],
    ['a shape beyond all files but for a zero', file({ x: entry('F32', [2 ** 40, 2 ** 40, 0], 0, 0) }), 'is larger than any file'],
    ['a name that stands twice', file('{"x":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"x":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}', eight), 'the name "x" stands twice'],
    ['a name that stands twice, once in other letters', file('{"x" : {"dtype":"U8","shape":[4],"data_offsets":[0,4]},"\\u0078"\n:{"dtype":"U8","shape":[4],"data_offsets":[4,8]}}', eight), 'the name "x" stands twice'],
    ['a key that stands twice', file('{"x":{"dtype":"F32","dtype":"I32","shape":[1],"data_offsets":[0,4]}}', four), 'the name "dtype" stands twice'],
    ['bytes left over', file({ x: entry('F32', [1], 0, 4) }, eight), '4 bytes belong to no tensor'],
  ])('%s', (_, bytes, words) => {
    const read = () => readSafetensors(bytes, 'model.safetensors');
    expect(read).toThrow(CheckpointError);
    expect(read).toThrow(words);
    expect(read).toThrow('model.safetensors: ');
  });

  it('names are compared within one object, whatever they hold', () => {
    const names = ['a"b', 'a\\', '{', 'dtype', 'shape', ':', '"x":'];
    const bytes = writeSafetensors(new Map(names.map((name) => [name, { shape: [1], data: Float32Array.of(1) }])), { dtype: '"dtype":', x: 'x' });
    expect([...readSafetensors(bytes).tensors.keys()].sort()).toEqual([...names].sort());
  });

  it('every prefix of a good file', () => {
    const bytes = writeSafetensors(new Map([['x', { shape: [3], data: Float32Array.of(1, 2, 3) }]]), { a: 'b' });
    for (let length = 0; length < bytes.length; length++) expect(() => readSafetensors(bytes.slice(0, length))).toThrow(CheckpointError);
  });

  it('writing values that do not fill the shape', () => {
    expect(() => writeSafetensors(new Map([['x', { shape: [2], data: Float32Array.of(1) }]]))).toThrow("tensor 'x': 1 values for shape [2]");
    expect(() => writeSafetensors(new Map([['__metadata__', { shape: [1], data: Float32Array.of(1) }]]))).toThrow("the format's own");
  });
});
