import type { Model, Scope, Step, Streams, TensorSource, Value } from '@espalier/core';
import type { z } from 'zod';
import type { VqaExamples } from './examples.ts';
import type { KeyOf } from './weights.ts';

/** A backbone with a VQA head: question and regions to answer logits. */
export interface VqaModel<I> extends Model<I> {
  readonly config: unknown; // as in its config.json
  readonly featureSize: number; // numbers per region
  /** Tokens through all blocks. */
  encode(inputs: I, step: Step): Streams;
  /** Logits [B, A] from what the blocks gave. */
  answer(streams: Streams, inputs: I, step: Step): Value;
  /** A padded batch as this model's tensors; the caller disposes them. */
  inputs(examples: VqaExamples): I;
  readonly keyOf: KeyOf;
}

/** A kind of backbone: how to read its configuration and build it. */
export interface Backbone {
  readonly name: string; // 'vl-bert'
  readonly sizes: Readonly<Record<'tiny' | 'small' | 'base', unknown>>; // configurations
  readonly schema: z.ZodType;
  /** Keys of released checkpoints that the VQA model has no place for. */
  readonly ignore: readonly RegExp[];
  readonly keyOf: KeyOf;
  build(config: unknown, tensors: TensorSource): VqaModel<unknown>;
  /** Inputs from arrays under the reference's argument names (`input_ids`, `visual_feats`, ...). */
  inputsFrom(arrays: ReadonlyMap<string, { shape: readonly number[]; data: ArrayLike<number | bigint> }>, config: unknown): unknown;
}

export type { Scope };
