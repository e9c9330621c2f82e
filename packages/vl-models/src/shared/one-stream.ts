import { Scope, sequence, streamOf, type Step, type Stream, type Streams, type TensorSource, type Value } from '@espalier/core';
import type { VqaModel } from '../vqa-model.ts';
import { transformerBlock, type BlockConfig } from './transformer.ts';

/** What tells one model of a single stream from another: how inputs become tokens, and what is read off them. */
export interface OneStream<I> extends Pick<VqaModel<I>, 'name' | 'featureSize' | 'keyOf' | 'batch' | 'inputs' | 'tokens' | 'places' | 'build'> {
  readonly config: BlockConfig & { readonly num_hidden_layers: number };
  /** The stream `joint` of a batch. */
  embedding(scope: Scope): (inputs: I, step: Step) => Streams;
  head(scope: Scope): (joint: Stream, inputs: I, step: Step) => Value;
}

/** Embedding, BERT layers and answer head over the stream `joint`. */
export function oneStream<I>({ config, embedding, head, ...model }: OneStream<I>, tensors: TensorSource): VqaModel<I> {
  const scope = Scope.root(tensors);
  const embed = embedding(scope.child('joint.embed', { stream: 'joint' }));
  const blocks = Array.from({ length: config.num_hidden_layers }, (_, i) => transformerBlock(scope.child(`joint.${i}`, { stream: 'joint', block: i }), 'joint', config));
  const encoder = scope.stage('encoder', sequence(...blocks), { streams: ['joint'] });
  const answer = head(scope.child('head', { stream: 'joint' }));
  const encode = (inputs: I, step: Step) => encoder(embed(inputs, step), step);
  return {
    ...model, scope, config, encode,
    answer: (streams, inputs, step) => answer(streamOf(streams, 'joint'), inputs, step),
    forward: (inputs, step) => answer(streamOf(encode(inputs, step), 'joint'), inputs, step),
  };
}
