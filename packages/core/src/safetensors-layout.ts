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
  readonly order: readonly { readonly tensor: T; readonly count: number; readonly begin: number }[]; // begin: byte after the head
  readonly dataSize: number;
}

/** Wide types first, names in order within a width: every array is then aligned as its type needs. @throws CheckpointError naming the tensor. */
export function layoutSafetensors<T extends TensorHead>(tensors: readonly T[], metadata: Readonly<Record<string, string>> = {}): SafetensorsLayout<T> {
  const sorted = [...tensors].sort((a, b) => storedSize(b.dtype) - storedSize(a.dtype) || (a.name < b.name ? -1 : 1));
  const header = new Map<string, unknown>(Object.keys(metadata).length ? [['__metadata__', metadata]] : []);
  let at = 0;
  const order = sorted.map((tensor) => {
    const { name, dtype, shape } = tensor;
    if (name === '__metadata__') throw new CheckpointError(`tensor '${name}' cannot be written: the name is the format's own`);
    if (header.has(name)) throw new CheckpointError(`tensor '${name}' cannot be written: two have this name`);
    const count = elementsOf(shape);
    const begin = at;
    const end = begin + (count ?? Infinity) * storedSize(dtype);
    if (count === undefined || !Number.isSafeInteger(end)) throw new CheckpointError(`tensor '${name}' [${shape.join(', ')}] is larger than any file`);
    header.set(name, { dtype, shape, data_offsets: [begin, end] });
    at = end;
    return { tensor, count, begin };
  });
  const json = new TextEncoder().encode(JSON.stringify(Object.fromEntries(header)));
  const length = Math.ceil(json.byteLength / 8) * 8;
  const head = new Uint8Array(8 + length).fill(0x20, 8 + json.byteLength);
  new DataView(head.buffer).setBigUint64(0, BigInt(length), true);
  head.set(json, 8);
  return { head, order, dataSize: at };
}
