import * as tf from '@tensorflow/tfjs';
import { EspalierError, matMul, reshape, streamOf, type Host, type Step, type Streams, type TokenKind, type TokenMasks, type Value } from '@espalier/core';

/** The top features of a pass, and what its tokens are. */
export interface Context {
  readonly top: Streams;
  /** Which tokens of a stream are of a kind: [B, T]. */
  mask(stream: string, kind: TokenKind): tf.Tensor | undefined;
  /** The mean top feature of the tokens of a kind, in whichever stream has them: [B, d]. */
  mean(kind: TokenKind): Value;
}

export function contextOf({ model }: Host, top: Streams, step: Step): Context {
  let known: Readonly<Record<string, TokenMasks>> | undefined;
  const masks = () => (known ??= tokensOf(model, step.inputs));
  return {
    top,
    mask: (stream, kind) => masks()[stream]?.[kind],
    mean: (kind) => {
      for (const [stream, { [kind]: mask }] of Object.entries(masks())) if (mask) return meanOver(streamOf(top, stream).hidden, mask);
      throw new EspalierError(`'toast': no stream of '${model.name}' has tokens of kind '${kind}'`);
    },
  };
}

function tokensOf(model: Host['model'], inputs: unknown): Readonly<Record<string, TokenMasks>> {
  if (!model.tokens) throw new EspalierError(`'toast': '${model.name}' does not say what its tokens are; give the model a method 'tokens'`);
  return model.tokens(inputs);
}

/** Mean over the tokens of a mask, none of them padding: [B, T, d], [B, T] -> [B, d]. A sample without such tokens gets zeros. */
export function meanOver(x: Value, mask: tf.Tensor): Value {
  const [batch, tokens, width] = x.shape as [number, number, number];
  const share = tf.div(mask, tf.maximum(tf.sum(mask, 1, true), 1));
  return reshape(matMul(tf.reshape(share, [batch, 1, tokens]), x), [batch, width]);
}
