/** Writes protocol-buffer wire format: fields in the order written, lengths in their shortest form. */
export interface ProtobufWriter {
  int(field: number, value: number): void;
  float(field: number, value: number): void;
  string(field: number, value: string): void;
  bytes(field: number, value: Uint8Array): void;
  message(field: number, write: () => void): void;
  /** A copy of what was written. */
  finish(): Uint8Array;
}

const VARINT = 0;
const LENGTH = 2;
const FIXED32 = 5;

export function protobufWriter(): ProtobufWriter {
  let buffer = new Uint8Array(1 << 12);
  let end = 0;
  const text = new TextEncoder();
  const room = (more: number) => {
    if (end + more <= buffer.length) return;
    const larger = new Uint8Array(Math.max(2 * buffer.length, end + more));
    larger.set(buffer.subarray(0, end));
    buffer = larger;
  };
  const varint = (value: number) => {
    room(10);
    if (value < 0) {
      let big = BigInt.asUintN(64, BigInt(value));
      for (; big > 127n; big >>= 7n) buffer[end++] = Number(big & 127n) | 128;
      buffer[end++] = Number(big);
      return;
    }
    for (; value > 127; value = Math.floor(value / 128)) buffer[end++] = (value % 128) | 128;
    buffer[end++] = value;
  };
  const tag = (field: number, wire: number) => varint(field * 8 + wire);
  const bytes = (field: number, value: Uint8Array) => {
    tag(field, LENGTH);
    varint(value.length);
    room(value.length);
    buffer.set(value, end);
    end += value.length;
  };
  return {
    int: (field, value) => {
      tag(field, VARINT);
      varint(value);
    },
    float: (field, value) => {
      tag(field, FIXED32);
      room(4);
      new DataView(buffer.buffer).setFloat32(end, value, true);
      end += 4;
    },
    string: (field, value) => bytes(field, text.encode(value)),
    bytes,
    message: (field, write) => {
      tag(field, LENGTH);
      const start = end;
      write();
      // The length stands before what it measures: write it at the end, then move it to its place.
      const length = end - start;
      varint(length);
      const prefix = buffer.slice(start + length, end);
      buffer.copyWithin(start + prefix.length, start, start + length);
      buffer.set(prefix, start);
    },
    finish: () => buffer.slice(0, end),
  };
}
