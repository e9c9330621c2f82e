import * as tf from '@tensorflow/tfjs';
import { concat, takeRows } from './ops.ts';
import { joinGroups, RaggedError, type Rows } from './samples.ts';
import { Dual, type Value } from './value.ts';

/** All samples of a batch in several parts, and where to find each of them when the parts stand one after another. */
export interface Partition {
  readonly parts: readonly Rows[];
  readonly order: readonly number[] | tf.Tensor1D; // [B]
}

/** Lists that hold every row of a batch, as a partition. */
export const listed = (parts: readonly (readonly number[])[]): Partition => ({ parts, order: orderOf(parts) });

/** The same as groups that only the graph knows. @throws RangeError when a list is empty. */
export function grouped(parts: readonly (readonly number[])[]): Partition {
  const { index, counts, order } = packed(parts);
  return {
    parts: index.map((own, k) => ({ index: tf.tensor1d(own, 'int32'), count: tf.tensor1d([counts[k]!], 'int32') })),
    order: tf.tensor1d(order, 'int32'),
  };
}

/** What a grouped partition is made of. A part without samples gets two of them, which `order` leaves out: no array in a graph is empty. */
export function packed(parts: readonly (readonly number[])[]): { readonly index: Int32Array[]; readonly counts: number[]; readonly order: Int32Array } {
  const batch = parts.reduce((n, p) => n + p.length, 0);
  const filled = parts.map((p) => (p.length ? p : [0, Math.min(1, batch - 1)]));
  const index = filled.map((p) => Int32Array.from({ length: Math.max(batch, p.length) }, (_, i) => p[i] ?? 0));
  const order = new Int32Array(batch);
  let at = 0;
  filled.forEach((p, k) => {
    if (parts[k]!.length) p.forEach((row, i) => (order[row] = at + i));
    at += p.length;
  });
  return { index, counts: filled.map((p) => p.length), order };
}

function orderOf(parts: readonly (readonly number[])[]): number[] {
  const order: number[] = [];
  parts.flat().forEach((row, at) => (order[row] = at));
  return order;
}

/** Parts put back in the order of the batch. */
export function joinRows(xs: readonly Value[], { order }: Partition): Value {
  if (!(order instanceof tf.Tensor)) return takeRows(concat(xs, 0), order);
  const plain = xs.filter((x) => !(x instanceof Dual));
  if (plain.length === xs.length) return joinGroups(plain as tf.Tensor[], order);
  if (plain.length) throw new RaggedError('of the branches that samples take one is linearised and one is not');
  const duals = xs as readonly Dual[];
  return new Dual(joinGroups(duals.map((d) => d.primal), order), joinGroups(duals.map((d) => d.tangent), order));
}
