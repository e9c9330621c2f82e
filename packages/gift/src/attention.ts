import { matMul, reshape, scale, softmax, transpose, type Value } from '@espalier/core';
import { dense, type Layer, type Read, type Variables } from './dense.ts';

/** [N, r] -> [H, N, r / H]. */
const split = (x: Value, heads: number): Value => {
  const [n, width] = x.shape as [number, number];
  return transpose(reshape(x, [n, heads, width / heads]), [1, 0, 2]);
};

export interface Attention {
  /** A = softmax(q k' / sqrt(r / H)) of tokens [N, r] over sources [M, r]: [H, N, M]. */
  probabilities(x: Value, sources: Value, read: Read): Value;
  /** A v, heads joined and projected: [N, r]. */
  attend(x: Value, sources: Value, read: Read): Value;
}

/** Multi-head attention with biases on all four projections. Arxiv 1706.03762. */
export function attention(variables: Variables, path: string, width: number, heads: number): Attention {
  const layer = (name: string): Layer => dense(variables, `${path}.${name}`, width, width);
  const [query, key, value, output] = [layer('query'), layer('key'), layer('value'), layer('output')];
  const probabilities: Attention['probabilities'] = (x, sources, read) => {
    const q = split(scale(query(x, read), 1 / Math.sqrt(width / heads)), heads);
    const k = transpose(split(key(sources, read), heads), [0, 2, 1]); // [H, r / H, M]
    return softmax(matMul(q, k));
  };
  return {
    probabilities,
    attend: (x, sources, read) => {
      const y = matMul(probabilities(x, sources, read), split(value(sources, read), heads)); // [H, N, r / H]
      return output(reshape(transpose(y, [1, 0, 2]), x.shape), read);
    },
  };
}
