import type * as tf from '@tensorflow/tfjs';
import type { EmbeddingRole, LinearRole, NormRole, SiteRole, StageRole } from './roles.ts';
import type { Step } from './step.ts';
import type { Streams } from './streams.ts';
import type { EmbeddingParams, LinearParams, NormParams, ParameterParams, Params } from './weights.ts';

/** A named place. The role is shared by all models; the path is unique among points of its kind in one model. */
export interface Point<R extends string = string> {
  readonly id: number; // index into the plan's tables
  readonly path: string; // 'cross.2.text.attention.value'
  readonly role: R;
  readonly stream: string | undefined; // the stream whose tokens the value belongs to
  readonly block: number | undefined; // position in the encoder
}

/** A place with parameters. */
export interface WeightPoint<P extends Params = Params, R extends string = string> extends Point<R> {
  readonly pretrained: P;
}
export interface LinearPoint extends WeightPoint<LinearParams, LinearRole> {
  readonly in: number;
  readonly out: number;
}
export interface NormPoint extends WeightPoint<NormParams, NormRole> {
  readonly dim: number;
}
export interface EmbeddingPoint extends WeightPoint<EmbeddingParams, EmbeddingRole> {
  readonly rows: number;
  readonly dim: number;
  /** A row that reference training never moves (torch's padding_idx): its gradient is zero. */
  readonly padding: number | undefined;
}
/** Every kind of place that belongs to the model and has parameters. */
export type ModelWeight = LinearPoint | NormPoint | EmbeddingPoint;

/** A plugin's own trainable variable. A place too: another plugin may hook it (the tangent of a LoRA). */
export interface ParameterPoint extends WeightPoint<ParameterParams, 'parameter'> {
  readonly variable: tf.Variable;
  readonly instance: string;
  readonly group: string;
}

/** A value on its way. `of` is the linear it is the output (or input) of. */
export interface SitePoint extends Point<SiteRole> {
  readonly of: LinearPoint | undefined;
}
/** One use of a linear: LXMERT's cross-attention has one value linear and two uses of it. */
export interface LinearSite extends SitePoint {
  readonly of: LinearPoint;
  readonly input: SitePoint;
}

/** Everything that runs: `(streams, step) => streams`. */
export type Stage = (streams: Streams, step: Step) => Streams;

export interface StagePoint extends Point<StageRole> {
  readonly width: number; // gate decisions per sample: the heads of `*.heads`, otherwise 1
  readonly body: Stage;
  readonly reads: readonly string[]; // streams whose content it uses
  readonly writes: readonly string[]; // streams whose content it changes
  readonly covers: string; // the scope whose points run inside
}

/** Where streams come from: a model's inputs turned into tokens. */
export interface SourcePoint extends Point<'source'> {
  readonly writes: readonly string[];
  readonly covers: string;
}

/** Runs each stage on what the one before it gave. */
export const sequence =
  (...stages: readonly Stage[]): Stage =>
  (streams, step) =>
    stages.reduce((s, stage) => stage(s, step), streams);

/** Whether a path lies in a scope. */
export const within = (path: string, scope: string): boolean => scope === '' || path === scope || path.startsWith(`${scope}.`);
