/**
 * A box as sines and cosines: for each of 100 cx/w, 100 cy/h, 100 bw/w, 100 bh/h the `dim` values sin(p / f_i), then
 * cos(p / f_i), with f_i = 1000^(i / dim); 8 dim numbers. Box x1 y1 x2 y2 in pixels of a w by h image.
 */
export function coordinateEmbedding([x1, y1, x2, y2]: ArrayLike<number> & Iterable<number>, w: number, h: number, dim: number): Float32Array {
  const numbers = [(100 * (x1! + x2!)) / 2 / w, (100 * (y1! + y2!)) / 2 / h, (100 * (x2! - x1!)) / w, (100 * (y2! - y1!)) / h];
  const out = new Float32Array(8 * dim);
  numbers.forEach((p, n) => {
    for (let i = 0; i < dim; i++) {
      const angle = p / 1000 ** (i / dim);
      out[2 * n * dim + i] = Math.sin(angle);
      out[(2 * n + 1) * dim + i] = Math.cos(angle);
    }
  });
  return out;
}
