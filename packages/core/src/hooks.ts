import type * as tf from '@tensorflow/tfjs';
import type { SitePoint, StagePoint, WeightPoint } from './points.ts';
import type { Step } from './step.ts';
import type { Streams } from './streams.ts';
import type { Value } from './value.ts';
import type { LinearParams, Params } from './weights.ts';
import type { View } from './view.ts';

/** When a hook is in force. By default in every pass, in every variant that includes its plugin. */
export interface Where {
  readonly passes?: readonly [from: number, to: number]; // to is exclusive
  /** In force even where a variant leaves its plugin out, such as a task head under 'pretrained'. */
  readonly always?: boolean;
  readonly order?: 'pre' | 'post';
}

/** How weight hooks at one place combine: replacements first, then scalings in order, then additions. */
export type WeightMode = 'replace' | 'scale' | 'add';
/** How stage hooks nest: the first plugin outermost; at most one route and one repeat per stage. */
export type StageMode = 'route' | 'repeat' | 'edit';

/** Runs what is inside a stage, optionally under another view. */
export type Run = (streams: Streams, change?: View) => Streams;

/** The whole linear in activation form: x -> y, given the parameters as they would be without this hook. */
export type Activation = (x: Value, p: LinearParams, step: Step) => Value;

export interface WeightHook extends Where {
  readonly kind: 'weight';
  readonly at: WeightPoint;
  readonly mode: WeightMode;
  readonly apply: (p: Params, step: Step) => Params;
  readonly activation: Activation | undefined;
  readonly tail: boolean;
}
export interface ValueHook extends Where {
  readonly kind: 'value';
  readonly at: SitePoint;
  readonly apply: (x: Value, step: Step) => Value;
}
export interface StageHook extends Where {
  readonly kind: 'stage';
  readonly at: StagePoint;
  readonly mode: StageMode;
  readonly around: (run: Run, streams: Streams, step: Step) => Streams;
}
export interface BeginHook {
  readonly kind: 'begin';
  readonly apply: (step: Step) => void | Promise<void>;
}
export interface ReadoutHook {
  readonly kind: 'readout';
  readonly at: SitePoint;
  readonly labels: readonly string[];
  readonly stream: string | undefined;
  readonly passes: Where['passes'];
  readonly read: (x: Value, step: Step) => Value;
}
/** What one number of a measure belongs to, and where it stands in a picture of all of them. */
export interface Measured {
  readonly row: string; // 'joint.0'
  readonly column: string; // 'attention.heads 3'
}
export interface MeasureHook {
  readonly kind: 'measure';
  readonly name: string; // 'open'
  readonly of: readonly Measured[];
  readonly probability: boolean; // each number is that of something being so for this sample
  readonly read: (step: Step) => tf.Tensor;
}
export type Hook = WeightHook | ValueHook | StageHook | BeginHook | ReadoutHook | MeasureHook;

/**
 * Changes the parameters of a place: p -> p'. Applied once a step and shared by every pass, branch and use, so it must
 * depend on neither rows nor pass. `activation` is an equal form on values, used when no other hook is on that weight.
 * `tail` says that a scaling scales the low-rank tail it is given as well; otherwise it is given one kernel without a tail.
 */
export function weight<P extends Params>(
  at: WeightPoint<P>,
  apply: (p: P, step: Step) => P,
  { mode = 'add', activation, tail = false, ...where }: Where & { mode?: WeightMode; activation?: Activation; tail?: boolean } = {},
): Hook {
  // A point's own parameters are what the plan folds first, so every apply sees the kind of place it was made for.
  return { kind: 'weight', at, mode, activation, tail, ...where, apply: (p, step) => apply(p as P, step) };
}

/** Changes a value on its way: x -> x' of the same shape. Hooks at one site fold in plugin order. */
export const value = (at: SitePoint, apply: (x: Value, step: Step) => Value, where: Where = {}): Hook => ({ kind: 'value', at, apply, ...where });

/** Goes around a stage: may change what enters or leaves it, run it under another view, several times, or not at all. */
export const around = (
  at: StagePoint,
  mode: StageMode,
  f: (run: Run, streams: Streams, step: Step) => Streams,
  where: Where = {},
): Hook => ({ kind: 'stage', at, mode, around: f, ...where });

/** Once per step, before the model runs: where decisions are made. The only hook that may wait. */
export const begin = (apply: (step: Step) => void | Promise<void>): Hook => ({ kind: 'begin', apply });

/**
 * Scores of tokens read off a value, for people to look at: [B, T, D] -> [B, T, M], a column per label. Changes nothing, and
 * runs only when `readings` asks: there under every variant, its plugin's hooks in force or not. `stream` is the one whose
 * tokens are scored, where that is not the site's: attention probabilities of one stream score the tokens of another.
 */
export const readout = (
  at: SitePoint,
  labels: readonly string[],
  read: (x: Value, step: Step) => Value,
  { stream = at.stream, passes }: { readonly stream?: string | undefined; readonly passes?: Where['passes'] } = {},
): Hook => ({ kind: 'readout', at, labels, read, stream, passes });

/**
 * Numbers in [0, 1] of each sample, for people to look at: [B, M], a column for each of `of`. Changes nothing, and runs only
 * when `measurements` asks, after a forward pass.
 */
export const measure = (name: string, of: readonly Measured[], read: (step: Step) => tf.Tensor, { probability = false } = {}): Hook => ({ kind: 'measure', name, of, probability, read });
