import * as tf from '@tensorflow/tfjs';

/** Sums over tokens of the products that least squares from `upper` to `lower` needs, in double precision. */
export interface Moments {
  readonly width: number; // d
  tokens: number;
  readonly gram: Float64Array; // upper' upper, [d, d]
  readonly cross: Float64Array; // upper' lower, [d, d]
  readonly sum: Float64Array; // of lower, [d]
  squares: number; // |lower|^2
}

export const noMoments = (width: number): Moments => ({
  width, tokens: 0, gram: new Float64Array(width * width), cross: new Float64Array(width * width), sum: new Float64Array(width), squares: 0,
});

/** Adds the tokens of a batch that `seen` [B, T] marks; upper and lower [B, T, d]. Call inside a tidy. */
export function addMoments(m: Moments, upper: tf.Tensor, lower: tf.Tensor, seen: tf.Tensor): void {
  const rows = tf.reshape(seen, [-1, 1]);
  const [h, y] = [upper, lower].map((x) => tf.mul(tf.reshape(x, [-1, m.width]), rows) as tf.Tensor2D);
  const into = (sum: Float64Array, x: tf.Tensor) => x.dataSync().forEach((v, i) => (sum[i]! += v));
  into(m.gram, tf.matMul(h!, h!, true));
  into(m.cross, tf.matMul(h!, y!, true));
  into(m.sum, tf.sum(y!, 0));
  m.squares += tf.sum(tf.square(y!)).dataSync()[0]!;
  m.tokens += tf.sum(rows).dataSync()[0]!;
}

/** 1 - |lower - upper A|^2 / |lower - mean|^2 of a map A [d, d]: the share of the variance of lower that it explains. */
export function explained({ width: d, gram, cross, sum, squares, tokens }: Moments, a: Float64Array): number {
  const total = squares - sum.reduce((s, v) => s + v * v, 0) / tokens;
  let error = squares;
  for (let i = 0; i < d; i++)
    for (let k = 0; k < d; k++) {
      let product = 0; // (G A)[i, k]
      for (let j = 0; j < d; j++) product += gram[i * d + j]! * a[j * d + k]!;
      error += a[i * d + k]! * (product - 2 * cross[i * d + k]!);
    }
  return 1 - error / total;
}
