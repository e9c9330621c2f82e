import * as tf from '@tensorflow/tfjs';
import { packed, random, type Partition, type Step } from '@espalier/core';
import type { Unit } from './units.ts';

/** Which samples take which branch of every unit, as arrays: what a recorded step reads in place of lists. */
export interface Sorted {
  /** Samples of which all gates of a unit are open, all closed, and those whose heads differ. */
  readonly taken: Packed;
  /** Those of which the branch not taken is evaluated, open and closed, and the others; undefined where that is all of them. */
  readonly evaluated: Packed | undefined;
  readonly learns: boolean; // whether this step evaluates any
}
interface Packed {
  readonly index: tf.Tensor; // int32 [U, P, B]
  readonly counts: tf.Tensor; // int32 [U, P]
  readonly order: tf.Tensor; // int32 [U, B]
}

/** Sorts the samples of a batch by their gates, [B D] row by row. */
export function sort(step: Step, open: Uint8Array, units: readonly Unit[], gates: number, { fraction, every }: { readonly fraction: number; readonly every: number }, name: string): Sorted {
  const { samples } = step;
  const kindOf = (b: number, u: Unit) => wayOf(open, b, u, gates);
  const { seed, step: at } = step.shared;
  const evaluated = (b: number, u: Unit) => evaluates({ seed, step: at, sample: samples[b]!, name, unit: u, fraction });
  const learns = at % every === 0;
  return {
    taken: pack(units.map((u) => divided(samples.length, (b) => kindOf(b, u)))), learns,
    evaluated: fraction < 1 && learns ? pack(units.map((u) => divided(samples.length, (b) => (evaluated(b, u) ? kindOf(b, u) : 2)))) : undefined,
  };
}

/** What a sample's gates of a unit say: 0 all open, 1 all closed, 2 some of each. */
export function wayOf(open: Uint8Array, sample: number, { first, width }: Unit, gates: number): 0 | 1 | 2 {
  const at = sample * gates + first;
  const opened = open.subarray(at, at + width).reduce((n, bit) => n + bit, 0);
  return opened === width ? 0 : opened === 0 ? 1 : 2;
}

/** Whether a training step evaluates, for a sample and unit, the branch not taken: with a chance of `fraction`. */
export const evaluates = ({ seed, step, sample, name, unit, fraction }: { readonly seed: number; readonly step: number; readonly sample: string; readonly name: string; readonly unit: Unit; readonly fraction: number }): boolean =>
  fraction === 1 || random(seed, step, sample, `${name} ${unit.stage.path}`).uniform() < fraction;

/** Positions 0 to count - 1 by way. */
export function divided(count: number, way: (i: number) => 0 | 1 | 2): readonly [number[], number[], number[]] {
  const parts: [number[], number[], number[]] = [[], [], []];
  for (let i = 0; i < count; i++) parts[way(i)].push(i);
  return parts;
}

function pack(all: readonly (readonly number[][])[]): Packed {
  const each = all.map(packed);
  const batch = each[0]!.order.length;
  return {
    index: tf.tensor3d(Int32Array.from(each.flatMap(({ index }) => index.flatMap((i) => [...i]))), [all.length, 3, batch], 'int32'),
    counts: tf.tensor2d(each.map(({ counts }) => counts), undefined, 'int32'),
    order: tf.tensor2d(Int32Array.from(each.flatMap(({ order }) => [...order])), [all.length, batch], 'int32'),
  };
}

/** One unit's samples in parts. */
export function partitionOf({ index, counts, order }: Packed, { index: u }: Unit, parts: number): Partition {
  const batch = order.shape[1]!;
  return {
    parts: Array.from({ length: parts }, (_, p) => ({ index: tf.reshape(tf.slice(index, [u, p, 0], [1, 1, batch]), [batch]), count: tf.reshape(tf.slice(counts, [u, p], [1, 1]), [1]) })),
    order: tf.reshape(tf.slice(order, [u, 0], [1, batch]), [batch]),
  };
}
