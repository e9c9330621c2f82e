import { add, gelu, matMul, scale, sigmoid, transpose, unitRows, type Value } from '@espalier/core';
import { attention, type Attention } from './attention.ts';
import { dense, type Layer, type Read, type Variables } from './dense.ts';
import type { Settings } from './options.ts';

/** One block of a generator: tokens [N, r] -> [N, r], where N is the number of output channels of a site. */
export interface Block {
  readonly run: Layer;
  /** How much each token belongs to each cluster, in (0, 1): [N, M]. */
  readonly clusters?: Layer;
}

/** fc2(gelu(fc1(x))). */
function feedForward(variables: Variables, path: string, width: number, hidden: number): Layer {
  const [first, second] = [dense(variables, `${path}.fc1`, width, hidden), dense(variables, `${path}.fc2`, hidden, width)];
  return (x, read) => second(gelu(first(x, read)), read);
}

/** t + f(t / |t|): before a layer, rows are scaled to unit length instead of a LayerNorm. */
const residual = (f: Layer): Layer => (t, read) => add(t, f(unitRows(t), read));

const inOrder = (...layers: readonly Layer[]): Layer => (t, read) => layers.reduce((x, f) => f(x, read), t);

export interface Paca extends Attention {
  /** C = sigmoid(x W_c + b_c): [N, M]. */
  clusters: Layer;
  /** Z: the mean of the tokens that a cluster gates, of unit length; [M, r]. */
  means: Layer;
  run: Layer;
}

/**
 * Parameter-to-cluster attention: tokens attend over M gated means of themselves, linear in N.
 * C = sigmoid(x W_c + b_c); Z = C' x / N, rows of unit length; A = softmax_M(q k' / sqrt(d)); A v, projected.
 * Arxiv 2312.00700 v1.
 */
export function paca(variables: Variables, path: string, { rank, clusters: m, heads }: Settings): Paca {
  const cluster = dense(variables, `${path}.cluster`, rank, m);
  const inner = attention(variables, path, rank, heads);
  const clusters: Layer = (x, read) => sigmoid(cluster(x, read));
  const means: Layer = (x, read) => unitRows(scale(matMul(transpose(clusters(x, read), [1, 0]), x), 1 / x.shape[0]!));
  return { ...inner, clusters, means, run: (x, read) => inner.attend(x, means(x, read), read) };
}

/** u = t + PaCa(t / |t|), and with a feed-forward u + FFN(u / |u|). */
export function pacaBlock(variables: Variables, path: string, settings: Settings, withFeedForward: boolean): Block {
  const inner = paca(variables, `${path}.attention`, settings);
  const clusters = (t: Value, read: Read) => inner.clusters(unitRows(t), read);
  if (!withFeedForward) return { run: residual(inner.run), clusters };
  return { run: inOrder(residual(inner.run), residual(feedForwardOf(variables, path, settings))), clusters };
}

/** Self-attention of the tokens and a feed-forward: quadratic in N. */
export function transformerBlock(variables: Variables, path: string, settings: Settings): Block {
  const inner = attention(variables, `${path}.attention`, settings.rank, settings.heads);
  return { run: inOrder(residual((x, read) => inner.attend(x, x, read)), residual(feedForwardOf(variables, path, settings))) };
}

/** t + FFN(t / |t|): every token by itself. */
export const mlpBlock = (variables: Variables, path: string, settings: Settings): Block => ({ run: residual(feedForwardOf(variables, path, settings)) });

/** A feed-forward over the tokens, then one over the inner width. Arxiv 2105.01601. */
export function mixerBlock(variables: Variables, path: string, settings: Settings, tokens: number): Block {
  const mix = feedForward(variables, `${path}.tokens`, tokens, settings.mixedTokens);
  const across: Layer = (x, read) => transpose(mix(transpose(x, [1, 0]), read), [1, 0]);
  return { run: inOrder(residual(across), residual(feedForwardOf(variables, path, settings))) };
}

const feedForwardOf = (variables: Variables, path: string, { rank, ffnRatio }: Settings): Layer =>
  feedForward(variables, `${path}.ffn`, rank, Math.floor(rank * ffnRatio));
