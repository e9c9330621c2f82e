import type * as tf from '@tensorflow/tfjs';

/** What a token can be: part of the question, a region of the image, or where the answer is read. Others, padding among them, are none of these. */
export type TokenKind = 'question' | 'region' | 'answer';

/** Which tokens of a stream are of a kind, as far as there are any: ones and zeros [B, T]. */
export type TokenMasks = Readonly<Partial<Record<TokenKind, tf.Tensor>>>;
