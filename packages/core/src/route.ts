import * as tf from '@tensorflow/tfjs';
import { grouped, listed, type Partition } from './partition.ts';
import type { Rows } from './samples.ts';
import type { Step } from './step.ts';
import { blendStreams, joinStreamRows, takeStreamRows, zipStreams, type Streams } from './streams.ts';
import { add, mask } from './ops.ts';
import type { Value } from './value.ts';

/** One of several ways through a stage; `rows` are the samples it is given, undefined for the whole batch. */
export type Branch = (streams: Streams, rows?: Rows) => Streams;

/**
 * Both branches for every sample, mixed by the gate: gate on(x) + (1 - gate) off(x). The gate is [B, 1], or [B, W] for W
 * shares of the last axis (heads). Costs both branches; the gate gets a gradient.
 */
export function blend(gate: tf.Tensor2D, streams: Streams, on: Branch, off: Branch): Streams {
  const [batch, width] = gate.shape;
  const yes = on(streams);
  const no = off(streams);
  if (width === 1) return blendStreams(tf.reshape(gate, [batch, 1, 1]), yes, no);
  return zipStreams(
    [yes, no],
    ([a, b]) => {
      const g = spread(gate, a!);
      return add(mask(a!, g), mask(b!, tf.sub(1, g)));
    },
    ([first]) => first!,
  );
}

/**
 * Each sample runs only the branch it chose: rows are taken, run, and put back in order, masks included. Equal to `blend`
 * with hard gates. `chosen` is one boolean per row that runs here.
 */
export function group(step: Step, chosen: readonly boolean[], streams: Streams, on: Branch, off: Branch): Streams {
  const rows = [true, false].map((want) => chosen.flatMap((c, i) => (c === want ? [i] : [])));
  return divide(step, rows, streams, [on, off]);
}

/** Sends the rows of each list through the branch of its place. Every row is in one list; a branch with an empty list does not run. */
export function divide(step: Step, rows: readonly (readonly number[])[], streams: Streams, branches: readonly Branch[]): Streams {
  const live = branches.flatMap((branch, k) => (rows[k]!.length ? [{ branch, own: rows[k]! }] : []));
  if (live.length === 1) return live[0]!.branch(streams);
  const lists = live.map(({ own }) => own);
  return through(step.groups ? grouped(lists) : listed(lists), streams, live.map(({ branch }) => branch));
}

/** Sends each part of a batch through the branch of its place. */
export const through = (partition: Partition, streams: Streams, branches: readonly Branch[]): Streams =>
  joinStreamRows(branches.map((branch, k) => branch(takeStreamRows(streams, partition.parts[k]!), partition.parts[k]!)), partition);

/** Blends while training, so that the gate learns, and groups otherwise, so that skipped work is saved. `chosen` is read once per step by the caller. */
export const route = (step: Step, gate: tf.Tensor2D, chosen: readonly boolean[] | undefined, streams: Streams, on: Branch, off: Branch): Streams =>
  step.training || chosen === undefined || gate.shape[1] > 1 ? blend(gate, streams, on, off) : group(step, chosen, streams, on, off);

/** One decision per head, spread over that head's share of the last axis: [B, W] -> [B, 1, D]. */
function spread(gate: tf.Tensor2D, x: Value): tf.Tensor {
  const [batch, width] = gate.shape;
  const dim = x.shape.at(-1)!;
  return tf.reshape(tf.tile(tf.reshape(gate, [batch, 1, width, 1]), [1, 1, 1, dim / width]), [batch, 1, dim]);
}
