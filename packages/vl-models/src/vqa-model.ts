import type { Initializer, Model, Step, Streams, TensorSource, TokenMasks, Value } from '@espalier/core';
import type { z } from 'zod';
import type { CheckpointKeys, KeyOf } from './keys.ts';
import type { NamedArrays } from './shared/arrays.ts';
import type { VqaExamples } from './shared/examples.ts';

/** Tokens from `from` on, in their order, of every sample. */
export interface TokenPlaces {
  readonly stream: string;
  readonly from: number;
}

/** A backbone with an answer head: question and regions to answer logits. */
export interface VqaModel<I> extends Model<I> {
  readonly config: unknown; // as in its config.json
  readonly featureSize: number; // numbers per region
  /** Tokens through all blocks. */
  encode(inputs: I, step: Step): Streams;
  /** Logits [B, A] from what the blocks gave. */
  answer(streams: Streams, inputs: I, step: Step): Value;
  /** A padded batch as this model's tensors; the caller disposes them. */
  inputs(examples: VqaExamples): I;
  tokens(inputs: I): Readonly<Record<string, TokenMasks>>;
  /** Where the words and the regions of such a batch stand in the streams. */
  places(examples: Pick<VqaExamples, 'questionLength' | 'regions'>): { readonly words: TokenPlaces; readonly regions: TokenPlaces };
  readonly keyOf: KeyOf;
  build(outputs: number, tensors: TensorSource, changes?: Readonly<Record<string, unknown>>): VqaModel<I>;
}

/** A kind of backbone: how to read its configuration and its files, and how to build it. */
export interface Backbone {
  readonly name: string; // 'vl-bert'
  readonly modelType: string; // of its config.json: 'vl_bert'
  readonly sizes: Readonly<Record<'tiny' | 'small' | 'base', unknown>>; // configurations
  readonly schema: z.ZodType;
  readonly featureKey: string; // of the configuration: how wide regions are
  readonly answersKey: string; // of the configuration: how many answers
  readonly keys: CheckpointKeys;
  /** The class of a configuration whose head is not one of answers, although its arrays are called alike; undefined for others. */
  otherHead?(config: unknown): string | undefined;
  /** The configuration of this kind around the encoder of a BERT. @throws CheckpointError for a BERT with other layers. */
  fromBert(bert: Readonly<Record<string, unknown>>): unknown;
  /** How an array of a new model starts, where that is not as BERT's do. */
  initializer?(path: string): Initializer | undefined;
  build(config: unknown, tensors: TensorSource): VqaModel<unknown>;
  /** Inputs from arrays under the reference's argument names (`input_ids`, `visual_feats`, ...). */
  inputsFrom(arrays: NamedArrays, config: unknown): unknown;
}
