import { elementsOf, storedSize, type Dtype } from './dtypes.ts';
import { CheckpointError } from './errors.ts';

/** An array to be written. */
export interface TensorHead {
  readonly name: string;
  readonly dtype: Dtype;
  readonly shape: readonly number[];
}

/** The first bytes of a safetensors file, and the order in which the arrays follow without holes. */
export interface SafetensorsLayout<T extends TensorHead> {
  readonly head: Uint8Array<ArrayBuffer>; // length and header, padded to 8 bytes
  readonly order: readonly (T & { readonly count: number; readonly begin: number })[]; // begin: byte after the head
  readonly dataSize: number;
}

/** Wide types first, names in order within a width: every array is then aligned as its type needs. @throws CheckpointError naming the tensor. */
export function layoutSafetensors<T extends TensorHead>(tensors: readonly T[], metadata: Readonly<Record<string, string>> = {}): SafetensorsLayout<T> {
  const sorted = [...tensors].sort((a, b) => storedSize(b.dtype) - storedSize(a.dtype) || (a.name < b.name ? -1 : 1));
  const header = new Map<string, unknown>(Object.keys(metadata).length ? [['__metadata__', metadata]] : []);
  let at = 0;
  const order = sorted.map((t) => {
    if (header.has(t.name) || t.name === '__metadata__') throw new CheckpointError(`tensor '${t.name}' cannot be written: ${t.name === '__metadata__' ? 'the name is the format\'s own' : 'two have this name'}`);
    const count = elementsOf(t.shape);
    const begin = at;
    const end = begin + (count ?? Infinity) * storedSize(t.dtype);
    if (count === undefined || !Number.isSafeInteger(end)) throw new CheckpointError(`tensor '${t.name}' [${t.shape.join(', ')}] is larger than any file`);
    header.set(t.name, { dtype: t.dtype, shape: t.shape, data_offsets: [begin, end] });
    at = end;
    return { ...t, count, begin };
  });
  const json = new TextEncoder().encode(JSON.stringify(Object.fromEntries(header)));
  const length = Math.ceil(json.byteLength / 8) * 8;
  const head = new Uint8Array(8 + length).fill(0x20, 8 + json.byteLength);
  new DataView(head.buffer).setBigUint64(0, BigInt(length), true);
  head.set(json, 8);
  return { head, order, dataSize: at };
}
