import { z } from 'zod';
import { DTYPES, elementsOf, storedSize, type Dtype } from './dtypes.ts';
import { CheckpointError } from './errors.ts';
import { isObject, parseJsonObject } from './json-object.ts';

/** Where one array of a safetensors file lies. */
export interface TensorSpan {
  readonly dtype: Dtype;
  readonly shape: readonly number[];
  readonly count: number; // values
  readonly offset: number; // of the first byte in the file
}

/** What the header of a safetensors file says, checked. */
export interface SafetensorsHeader {
  readonly tensors: ReadonlyMap<string, TensorSpan>;
  readonly metadata: Readonly<Record<string, string>>;
}

const Entry = z.strictObject({
  dtype: z.enum(DTYPES),
  shape: z.array(z.int().nonnegative()),
  data_offsets: z.tuple([z.int().nonnegative(), z.int().nonnegative()]),
});

const HEADER_LIMIT = 100 * 2 ** 20;

/**
 * The length N of the JSON header, which stands at byte 8: `u64 N | header | data`, little endian. `start` is the first
 * 8 bytes of the file, fewer where it has no more. @throws CheckpointError when N exceeds 100 MB or the file.
 */
export function safetensorsHeaderLength(start: Uint8Array, fileSize: number, file: string): number {
  if (start.byteLength < 8) throw new CheckpointError(`${file}: ${fileSize} bytes are too few for a safetensors file; was it cut off?`);
  const length = Number(new DataView(start.buffer, start.byteOffset, 8).getBigUint64(0, true));
  if (length > HEADER_LIMIT || length > fileSize - 8)
    throw new CheckpointError(`${file}: the header claims ${length} bytes of ${fileSize - 8}; this is no safetensors file, or it was cut off`);
  return length;
}

/**
 * Reads a JSON header. Every offset is checked: in range, of the size that its shape asks for, contiguous and covering
 * the file; no name stands twice. @throws CheckpointError naming file and tensor.
 */
export function parseSafetensorsHeader(header: Uint8Array, fileSize: number, file = 'safetensors'): SafetensorsHeader {
  const fail = (what: string): never => {
    throw new CheckpointError(`${file}: ${what}`);
  };
  const start = 8 + header.byteLength;
  const dataSize = fileSize - start;
  const tensors = new Map<string, TensorSpan>();
  let metadata: Record<string, string> = {};
  const spans: { name: string; begin: number; end: number }[] = [];
  for (const [name, raw] of entriesOf(header, fail)) {
    if (name === '__metadata__') {
      metadata = strings(raw) ?? fail('__metadata__ is not a map of strings');
      continue;
    }
    const parsed = Entry.safeParse(raw);
    if (!parsed.success) return fail(`tensor '${name}': ${parsed.error.issues.map((i) => `${i.path.join('.')} ${i.message}`).join('; ')}`);
    const { dtype, shape, data_offsets: [begin, end] } = parsed.data;
    const count = elementsOf(shape);
    const bytes = count === undefined ? undefined : count * storedSize(dtype);
    if (count === undefined || bytes === undefined || !Number.isSafeInteger(bytes)) return fail(`tensor '${name}' [${shape.join(', ')}] ${dtype} is larger than any file`);
    if (end - begin !== bytes) fail(`tensor '${name}' [${shape.join(', ')}] ${dtype} needs ${bytes} bytes, its offsets hold ${end - begin}`);
    if (end > dataSize) fail(`tensor '${name}' ends at byte ${end} of ${dataSize}; the file was cut off`);
    spans.push({ name, begin, end });
    tensors.set(name, { dtype, shape, count, offset: start + begin });
  }
  spans.sort((a, b) => a.begin - b.begin || a.end - b.end);
  let at = 0;
  for (const { name, begin, end } of spans) {
    if (begin !== at) fail(`tensor '${name}' begins at byte ${begin} where ${at} was expected: tensors overlap or leave a hole`);
    at = end;
  }
  if (at !== dataSize) fail(`${dataSize - at} bytes belong to no tensor`);
  return { tensors, metadata };
}

function entriesOf(header: Uint8Array, fail: (what: string) => never): Map<string, unknown> {
  try {
    return parseJsonObject(new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(header));
  } catch (e) {
    const reason = e instanceof Error ? e.message : String(e);
    return fail(reason === 'not an object' ? 'the header is not an object of tensors' : `the header is not JSON (${reason})`);
  }
}

/** A record of strings, with own properties only, whatever their names. */
function strings(json: unknown): Record<string, string> | undefined {
  if (!isObject(json)) return undefined;
  const entries = Object.entries(json).filter((entry): entry is [string, string] => typeof entry[1] === 'string');
  return entries.length === Object.keys(json).length ? Object.fromEntries(entries) : undefined;
}
