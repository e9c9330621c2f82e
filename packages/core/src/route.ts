import * as tf from '@tensorflow/tfjs';
import { graphBackend } from './engine.ts';
import type { Step } from './step.ts';
import { blendStreams, joinStreamRows, takeStreamRows, zipStreams, type Streams } from './streams.ts';
import { add, mask } from './ops.ts';
import type { Value } from './value.ts';

/** One of two ways through a stage; `rows` are the samples it is given, undefined for the whole batch. */
export type Branch = (streams: Streams, rows?: readonly number[]) => Streams;

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
 * with hard gates. `chosen` is one boolean per row that runs here. A backend that compiles graphs is given rows in a few
 * sizes: the list may repeat its last row.
 */
export function group(chosen: readonly boolean[], streams: Streams, on: Branch, off: Branch): Streams {
  const rows = [true, false].map((want) => chosen.flatMap((c, i) => (c === want ? [i] : [])));
  if (!rows[1]!.length) return on(streams);
  if (!rows[0]!.length) return off(streams);
  const engine = graphBackend();
  const sized = engine ? rows.map((r) => padded(r, chosen.length)) : rows;
  // Every branch is a graph of its own, which blocks of one structure share, their weights being inputs.
  const sides = [on, off].map((branch, k) => {
    engine?.cut();
    return branch(takeStreamRows(streams, sized[k]!), sized[k]!);
  });
  engine?.cut();
  return joinStreamRows(sides, sized);
}

/**
 * Rows with the last one repeated up to a bucket's size: at least two, in steps of an eighth of the batch. Where steps are
 * compiled, every new size is a new graph; and a product with one row would take another kernel, with other roundings.
 */
function padded(rows: readonly number[], batch: number): readonly number[] {
  const unit = Math.max(2, Math.ceil(batch / 8));
  const size = Math.ceil(rows.length / unit) * unit;
  return [...rows, ...Array.from({ length: size - rows.length }, () => rows.at(-1)!)];
}

/** Blends while training, so that the gate learns, and groups otherwise, so that skipped work is saved. `chosen` is read once per step by the caller. */
export const route = (step: Step, gate: tf.Tensor2D, chosen: readonly boolean[] | undefined, streams: Streams, on: Branch, off: Branch): Streams =>
  step.training || chosen === undefined || gate.shape[1] > 1 ? blend(gate, streams, on, off) : group(chosen, streams, on, off);

/** One decision per head, spread over that head's share of the last axis: [B, W] -> [B, 1, D]. */
function spread(gate: tf.Tensor2D, x: Value): tf.Tensor {
  const [batch, width] = gate.shape;
  const dim = x.shape.at(-1)!;
  return tf.reshape(tf.tile(tf.reshape(gate, [batch, 1, width, 1]), [1, 1, 1, dim / width]), [batch, 1, dim]);
}
