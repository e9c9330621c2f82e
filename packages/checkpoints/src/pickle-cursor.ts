import { CheckpointError } from '@espalier/core';

/** The pickle goes on beyond the bytes at hand: it was cut off, or more of the file must be read. */
export class CutOffError extends CheckpointError {}

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/** The bytes as UTF-8, or undefined where they are none. */
export function decoded(bytes: Uint8Array): string | undefined {
  try {
    return utf8.decode(bytes);
  } catch {
    return undefined;
  }
}

/** A place in a pickle. Every length is checked against the bytes at hand before anything is allocated. */
export interface Cursor {
  readonly at: number;
  /** A byte. */
  byte(): number;
  u16(): number;
  u32(): number;
  i32(): number;
  u64(): number; // as a number: exact up to 2^53
  f64(): number; // big endian, as pickles have it
  /** A view of the next bytes. */
  bytes(length: number): Uint8Array;
  /** The next bytes as UTF-8. */
  text(length: number): string;
  /** Text up to a line feed, of at most `limit` bytes. */
  line(limit: number): string;
  fail(what: string): never;
}

export function cursor(data: Uint8Array, start: number, who: string): Cursor {
  const view = new DataView(data.buffer, data.byteOffset, data.byteLength);
  let at = start;
  const fail = (what: string): never => {
    throw new CheckpointError(`${who}: ${what} (byte ${at})`);
  };
  const take = (length: number): number => {
    if (length > data.byteLength - at) throw new CutOffError(`${who}: the pickle is cut off: byte ${at} asks for ${length} more bytes of ${data.byteLength - at}`);
    const from = at;
    at += length;
    return from;
  };
  const bytes = (length: number): Uint8Array => {
    const from = take(length);
    return data.subarray(from, from + length);
  };
  const text = (length: number): string => decoded(bytes(length)) ?? fail('a text is not UTF-8');
  return {
    get at() {
      return at;
    },
    byte: () => view.getUint8(take(1)),
    u16: () => view.getUint16(take(2), true),
    u32: () => view.getUint32(take(4), true),
    i32: () => view.getInt32(take(4), true),
    u64: () => Number(view.getBigUint64(take(8), true)),
    f64: () => view.getFloat64(take(8), false),
    bytes,
    text,
    line: (limit) => {
      const end = data.subarray(at, at + limit).indexOf(10);
      if (end < 0 && data.byteLength - at >= limit) fail(`a name is longer than ${limit} bytes`);
      const found = text(end < 0 ? data.byteLength - at + 1 : end); // without a line feed: one byte more than there is
      take(1);
      return found;
    },
    fail,
  };
}
