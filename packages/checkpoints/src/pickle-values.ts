import { elementsOf, type Dtype } from '@espalier/core';

/** What a pickle of torch.save is made of. Nothing here can be called. */
export type Pickled = null | boolean | number | bigint | string | Uint8Array | PickledList | PickledTuple | PickledDict | Opaque | Global | Storage | TensorView;

export interface PickledList {
  readonly kind: 'list';
  readonly items: Pickled[];
}
export interface PickledTuple {
  readonly kind: 'tuple';
  readonly items: readonly Pickled[];
}
/** A dict or OrderedDict. Keys compare by identity where they are no plain values. */
export interface PickledDict {
  readonly kind: 'dict';
  readonly entries: Map<Pickled, Pickled>;
}
/** A set or encoded bytes, which no state dict needs: its content is dropped. */
export interface Opaque {
  readonly kind: 'opaque';
}
/** A name from the table of those allowed. */
export interface Global {
  readonly kind: 'global';
  readonly name: string;
}
/** `count` values of `dtype` that lie elsewhere in the file under `key`. */
export interface Storage {
  readonly kind: 'storage';
  readonly dtype: Dtype;
  readonly key: string;
  readonly count: number;
}
/** Element (i, j, ...) of a tensor is value `offset + i * strides[0] + j * strides[1] + ...` of its storage, checked to be inside. */
export interface TensorView {
  readonly kind: 'tensor';
  readonly storage: Storage;
  readonly offset: number;
  readonly shape: readonly number[];
  readonly strides: readonly number[];
}

type Kinds = Exclude<Pickled, null | boolean | number | bigint | string | Uint8Array>;

/** The value as one of a kind, or undefined when it is of another. */
export function asKind<K extends Kinds['kind']>(value: Pickled | undefined, kind: K): Extract<Kinds, { kind: K }> | undefined {
  return isKind(value, kind) ? value : undefined;
}

function isKind<K extends Kinds['kind']>(value: Pickled | undefined, kind: K): value is Extract<Kinds, { kind: K }> {
  return typeof value === 'object' && value !== null && !(value instanceof Uint8Array) && value.kind === kind;
}

/** For messages: what kind of thing a value is. */
export function describe(value: Pickled | undefined): string {
  if (value === undefined) return 'nothing';
  if (value === null) return 'None';
  if (value instanceof Uint8Array) return 'bytes';
  return typeof value === 'object' ? value.kind : typeof value;
}

const MOST_DIMENSIONS = 64;
const FREE_EXPANSION = 2 ** 20; // elements that a view may have though its storage has fewer

/**
 * A view checked against its storage: offset + sum of (size - 1) * stride < count, strides from 0 on. A string says what
 * is wrong. A view that repeats values (stride 0, overlaps) may not have more than 2^20 elements beyond its storage's
 * count, so that a small file cannot ask for much memory.
 */
export function tensorView(storage: Storage, offset: Pickled | undefined, size: Pickled | undefined, stride: Pickled | undefined): TensorView | string {
  const shape = counts(size);
  const strides = counts(stride);
  if (!isCount(offset)) return `its offset is ${printed(offset)}, expected a count`;
  if (!shape) return `its size is ${printed(size)}, expected a tuple of counts`;
  if (!strides) return `its strides are ${printed(stride)}, expected a tuple of counts (negative strides are refused)`;
  if (shape.length !== strides.length || shape.length > MOST_DIMENSIONS) return `it has ${shape.length} sizes and ${strides.length} strides`;
  const elements = elementsOf(shape);
  if (elements === undefined) return `its size [${shape.join(', ')}] is larger than any file`;
  const last = elements === 0 ? offset - 1 : shape.reduce((at, n, i) => at + (n - 1) * strides[i]!, offset);
  if (!(last < storage.count)) return `it reaches value ${last} of storage '${storage.key}', which has ${storage.count}`;
  if (elements > storage.count + FREE_EXPANSION) return `it repeats the ${storage.count} values of storage '${storage.key}' into ${elements}`;
  return { kind: 'tensor', storage, offset, shape, strides };
}

const isCount = (x: Pickled | undefined): x is number => typeof x === 'number' && Number.isSafeInteger(x) && x >= 0;

function counts(value: Pickled | undefined): readonly number[] | undefined {
  const items = asKind(value, 'tuple')?.items;
  return items?.every(isCount) ? items : undefined;
}

function printed(value: Pickled | undefined): string {
  const tuple = asKind(value, 'tuple');
  if (tuple) return `(${tuple.items.slice(0, 8).map(printed).join(', ')})`;
  return typeof value === 'number' || typeof value === 'bigint' ? String(value) : describe(value);
}
