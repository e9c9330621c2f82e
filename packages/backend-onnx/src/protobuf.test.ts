import { expect, it } from 'vitest';
import { protobufWriter } from './protobuf.ts';

const bytes = (write: (w: ReturnType<typeof protobufWriter>) => void): number[] => {
  const w = protobufWriter();
  write(w);
  return [...w.finish()];
};

it('writes varints, negative ones as 64 bits, floats, strings and messages as protocol buffers are defined', () => {
  expect(bytes((w) => w.int(1, 150))).toEqual([0x08, 0x96, 0x01]);
  expect(bytes((w) => w.int(2, -1))).toEqual([0x10, ...Array.from({ length: 9 }, () => 0xff), 0x01]);
  expect(bytes((w) => w.int(1, 2 ** 40))).toEqual([0x08, 0x80, 0x80, 0x80, 0x80, 0x80, 0x20]);
  expect(bytes((w) => w.float(3, 1))).toEqual([0x1d, 0, 0, 0x80, 0x3f]);
  expect(bytes((w) => w.string(2, 'testing'))).toEqual([0x12, 7, ...new TextEncoder().encode('testing')]);
  expect(bytes((w) => w.message(3, () => w.int(1, 150)))).toEqual([0x1a, 3, 0x08, 0x96, 0x01]);
});

it('writes long messages inside of messages', () => {
  const long = new Uint8Array(100_000).map((_, i) => i % 251);
  const found = bytes((w) => w.message(1, () => w.message(2, () => w.bytes(3, long))));
  expect(found.slice(0, 12)).toEqual([0x0a, 0xa8, 0x8d, 0x06, 0x12, 0xa4, 0x8d, 0x06, 0x1a, 0xa0, 0x8d, 0x06]);
  expect(found.slice(12)).toEqual([...long]);
});
