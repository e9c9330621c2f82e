import { z } from 'zod';
import { CheckpointError } from './errors.ts';

/** One array of a file: values as float32 or, for integer types, as they are. */
export interface StoredTensor {
  readonly dtype: Dtype;
  readonly shape: readonly number[];
  readonly data: Float32Array | Float64Array | Int32Array | BigInt64Array | Uint8Array;
}
export interface SafetensorsFile {
  readonly tensors: ReadonlyMap<string, StoredTensor>;
  readonly metadata: Readonly<Record<string, string>>;
}

const SIZES = { F64: 8, F32: 4, F16: 2, BF16: 2, I64: 8, I32: 4, U8: 1, BOOL: 1 } as const;
export type Dtype = keyof typeof SIZES;

const Entry = z.strictObject({
  dtype: z.enum(['F64', 'F32', 'F16', 'BF16', 'I64', 'I32', 'U8', 'BOOL']),
  shape: z.array(z.int().nonnegative()),
  data_offsets: z.tuple([z.int().nonnegative(), z.int().nonnegative()]),
});
const Metadata = z.record(z.string(), z.string());

const HEADER_LIMIT = 100 * 2 ** 20;

/**
 * Reads `u64 length | JSON header | data`, little endian. F16 and BF16 become float32. Every offset is checked: in
 * range, the size its shape asks for, contiguous and covering the file. @throws CheckpointError naming file and tensor.
 */
export function readSafetensors(bytes: Uint8Array, file = 'safetensors'): SafetensorsFile {
  const fail = (what: string): never => {
    throw new CheckpointError(`${file}: ${what}`);
  };
  if (bytes.byteLength < 8) fail(`${bytes.byteLength} bytes are too few for a safetensors file; was it cut off?`);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const length = Number(view.getBigUint64(0, true));
  if (length > HEADER_LIMIT || length > bytes.byteLength - 8)
    fail(`the header claims ${length} bytes of ${bytes.byteLength - 8}; this is no safetensors file, or it was cut off`);
  let header: unknown;
  try {
    header = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes.subarray(8, 8 + length)));
  } catch (e) {
    fail(`the header is not JSON (${e instanceof Error ? e.message : String(e)})`);
  }
  const entries = z.record(z.string(), z.unknown()).safeParse(header);
  if (!entries.success) return fail('the header is not an object of tensors');
  // Not `subarray`: on Node's Buffer `slice` would then share memory instead of copying.
  const data = new Uint8Array(bytes.buffer, bytes.byteOffset + 8 + length, bytes.byteLength - 8 - length);
  const tensors = new Map<string, StoredTensor>();
  let metadata: Record<string, string> = {};
  const spans: { name: string; begin: number; end: number }[] = [];
  for (const [name, raw] of Object.entries(entries.data)) {
    if (name === '__metadata__') {
      const parsed = Metadata.safeParse(raw);
      metadata = parsed.success ? parsed.data : fail('__metadata__ is not a map of strings');
      continue;
    }
    const parsed = Entry.safeParse(raw);
    if (!parsed.success) return fail(`tensor '${name}': ${parsed.error.issues.map((i) => `${i.path.join('.')} ${i.message}`).join('; ')}`);
    const { dtype, shape, data_offsets: [begin, end] } = parsed.data;
    const size = shape.reduce((a, b) => a * b, 1);
    if (end - begin !== size * SIZES[dtype]) fail(`tensor '${name}' [${shape.join(', ')}] ${dtype} needs ${size * SIZES[dtype]} bytes, its offsets hold ${end - begin}`);
    if (end > data.byteLength) fail(`tensor '${name}' ends at byte ${end} of ${data.byteLength}; the file was cut off`);
    spans.push({ name, begin, end });
    tensors.set(name, { dtype, shape, data: decode(dtype, data.slice(begin, end)) });
  }
  spans.sort((a, b) => a.begin - b.begin || a.end - b.end);
  let at = 0;
  for (const { name, begin, end } of spans) {
    if (begin !== at) fail(`tensor '${name}' begins at byte ${begin} where ${at} was expected: tensors overlap or leave a hole`);
    at = end;
  }
  if (at !== data.byteLength) fail(`${data.byteLength - at} bytes belong to no tensor`);
  return { tensors, metadata };
}

/** Writes tensors in the order of their names, each aligned as its type needs; the header is padded to 8 bytes. */
export function writeSafetensors(tensors: ReadonlyMap<string, Omit<StoredTensor, 'dtype'>>, metadata: Readonly<Record<string, string>> = {}): Uint8Array {
  // Wide types first, names in order within a width: every tensor is then aligned without holes.
  const list = [...tensors]
    .map(([name, t]) => ({ name, shape: t.shape, data: t.data, dtype: dtypeOf(t.data) }))
    .sort((a, b) => SIZES[b.dtype] - SIZES[a.dtype] || (a.name < b.name ? -1 : 1));
  const header: Record<string, unknown> = Object.keys(metadata).length ? { __metadata__: metadata } : {};
  let at = 0;
  for (const { name, shape, data, dtype } of list) {
    const size = shape.reduce((a, b) => a * b, 1);
    if (size !== data.length) throw new CheckpointError(`tensor '${name}': ${data.length} values for shape [${shape.join(', ')}]`);
    header[name] = { dtype, shape, data_offsets: [at, at + data.byteLength] };
    at += data.byteLength;
  }
  const json = new TextEncoder().encode(JSON.stringify(header));
  const length = Math.ceil(json.byteLength / 8) * 8;
  const out = new Uint8Array(8 + length + at).fill(0x20, 8 + json.byteLength, 8 + length);
  new DataView(out.buffer).setBigUint64(0, BigInt(length), true);
  out.set(json, 8);
  let offset = 8 + length;
  for (const { data } of list) {
    out.set(new Uint8Array(data.buffer, data.byteOffset, data.byteLength), offset);
    offset += data.byteLength;
  }
  return out;
}

function dtypeOf(data: StoredTensor['data']): Dtype {
  if (data instanceof Float32Array) return 'F32';
  if (data instanceof Float64Array) return 'F64';
  if (data instanceof Int32Array) return 'I32';
  return data instanceof BigInt64Array ? 'I64' : 'U8';
}

/** `bytes` is a fresh copy, so any alignment is right. */
function decode(dtype: Dtype, { buffer }: Uint8Array<ArrayBuffer>): StoredTensor['data'] {
  switch (dtype) {
    case 'F64': return new Float64Array(buffer);
    case 'F32': return new Float32Array(buffer);
    case 'I64': return new BigInt64Array(buffer);
    case 'I32': return new Int32Array(buffer);
    case 'F16': return Float32Array.from(new Uint16Array(buffer), halfToFloat);
    case 'BF16': {
      const bits = new Uint32Array(new Uint16Array(buffer)).map((x) => x << 16);
      return new Float32Array(bits.buffer);
    }
    default: return new Uint8Array(buffer);
  }
}

/** IEEE half precision, subnormals included. */
function halfToFloat(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 0x1f;
  const fraction = bits & 0x3ff;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  if (exponent === 31) return fraction ? NaN : sign * Infinity;
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}
