import * as tf from '@tensorflow/tfjs';
import { Scope, sequence, streamOf, type Step, type Stream, type Streams, type TensorSource, type Value } from '@espalier/core';
import type { VqaModel } from '../vqa-model.ts';
import { transformerBlock, type BlockConfig } from './transformer.ts';

/** Which row of the flattened tokens [B T, D] an answer is read from, and which tokens are there. */
export interface Answered {
  readonly answerRows: tf.Tensor1D; // int32 [B]
  readonly seen: tf.Tensor2D; // [B, T]
}

/** What tells one model of a single stream from another: how inputs become tokens, and what is read off them. */
export interface OneStream<I> extends Pick<VqaModel<I>, 'name' | 'featureSize' | 'keyOf' | 'batch' | 'inputs' | 'tokens' | 'places' | 'build'> {
  readonly config: BlockConfig & { readonly num_hidden_layers: number; readonly skip_dead_rows: boolean };
  /** The stream `joint` of a batch. */
  embedding(scope: Scope): (inputs: I, step: Step) => Streams;
  head(scope: Scope): (joint: Stream, inputs: I, step: Step) => Value;
}

/** Embedding, BERT layers and answer head over the stream `joint`. */
export function oneStream<I extends Answered>({ config, embedding, head, ...model }: OneStream<I>, tensors: TensorSource): VqaModel<I> {
  const scope = Scope.root(tensors);
  const embed = embedding(scope.child('joint.embed', { stream: 'joint' }));
  const blocks = Array.from({ length: config.num_hidden_layers }, (_, i) => transformerBlock(scope.child(`joint.${i}`, { stream: 'joint', block: i }), 'joint', config, i === config.num_hidden_layers - 1));
  const encoder = scope.stage('encoder', sequence(...blocks), { streams: ['joint'] });
  const answer = head(scope.child('head', { stream: 'joint' }));
  const encode = (inputs: I, step: Step) => encoder(embed(inputs, step), step);
  return {
    ...model, scope, config, encode,
    answer: (streams, inputs, step) => answer(streamOf(streams, 'joint'), inputs, step),
    forward: (inputs, step) => {
      const reading = config.skip_dead_rows ? step.reading(`joint.${config.num_hidden_layers - 1}`, () => answerTokens(inputs)) : step;
      return answer(streamOf(encode(inputs, reading), 'joint'), inputs, step);
    },
  };
}

/** 1 where the answer is read: [B, T, 1]. */
function answerTokens({ answerRows, seen: { shape: [batch, tokens] } }: Answered): tf.Tensor {
  const places = tf.reshape(tf.range(0, batch * tokens, 1, 'int32'), [batch, tokens]);
  return tf.expandDims(tf.cast(tf.equal(places, tf.expandDims(answerRows, 1)), 'float32'), -1);
}
