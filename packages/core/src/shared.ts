import type * as tf from '@tensorflow/tfjs';
import type { Account } from './account.ts';
import type { Feeder } from './feed.ts';
import type { Plan } from './plan.ts';
import type { SitePoint } from './points.ts';
import type { Prefix } from './prefix.ts';
import type { Step } from './step.ts';
import type { Streams } from './streams.ts';
import type { Value } from './value.ts';
import type { Variant } from './view.ts';
import type { Params } from './weights.ts';

/** A typed key for what a plugin keeps during one step; `_` only carries the type. */
export interface Slot<T> {
  readonly name: string;
  readonly _?: T;
}

/** A decision made before the learning phase: the learning phase sees `value` as a leaf and hands its gradient to `backward`. */
export interface Leaf {
  readonly value: tf.Tensor;
  readonly backward: (dy: tf.Tensor) => Readonly<Record<string, tf.Tensor>>; // gradients by variable name
  readonly score?: (task: tf.Scalar) => Readonly<Record<string, tf.Tensor>>; // further ones, from the task's loss alone: a score function estimate
}

/** What one step is keyed by and how it runs. */
export interface StepOptions {
  readonly training?: boolean; // default false: no dropout, no noise
  readonly seed?: number; // default 0
  readonly step?: number; // default 0
  readonly samples?: readonly string[]; // ids of the rows; default their positions
  readonly variant?: Variant; // default 'adapted'
  readonly recompute?: boolean; // default false: keep a block's activations instead of computing them again for its gradient
  readonly observe?: (site: SitePoint, x: Value, step: Step) => void; // sees every site's value
  readonly account?: Account;
  readonly feed?: Feeder | undefined; // takes host data in by name, where the step is recorded
}

/** State that all views of one step share. */
export interface Shared extends Required<Pick<StepOptions, 'training' | 'seed' | 'step' | 'recompute'>> {
  readonly plan: Plan;
  readonly inputs: unknown;
  readonly batch: number;
  readonly samples: readonly string[];
  readonly observe: StepOptions['observe'] | undefined;
  readonly account: Account | undefined;
  readonly feed: Feeder | undefined;
  readonly slots: Map<Slot<unknown>, unknown>;
  readonly memo: Map<unknown, { tape: unknown; params: Params }[]>;
  readonly sources: Map<number, Streams>; // by point
  readonly losses: Map<string, tf.Tensor>;
  readonly leaves: Map<Slot<tf.Tensor>, Leaf>;
  readonly kept: Set<tf.Tensor>;
  readonly born: number; // ids of tensors made in this step are at least this
  readonly isolated: boolean; // what is read inside is given as arguments
  prefix: Prefix | undefined;
  tables: Tables | undefined;
}

/** Trainable tables whose gradient is wanted as the rows that were read. */
export interface Tables {
  /** A leaf [N, D] whose gradient is that of the rows read at an index [N]; undefined for a table that is not one of them. */
  read(table: tf.Variable, index: tf.Tensor1D): tf.Tensor | undefined;
}
