/** A region in pixels: left, top, right, bottom. */
export type Box = readonly [x0: number, y0: number, x1: number, y1: number];

export interface Picture {
  readonly width: number; // pixels
  readonly height: number;
}

/**
 * A score per pixel from a score per region: the mean over the boxes that cover the pixel's centre, NaN where none does.
 * Row by row, [height * width]. @throws RangeError when there is not one score per box.
 */
export function paintBoxes(scores: ArrayLike<number>, boxes: readonly Box[], { width, height }: Picture): Float32Array {
  if (scores.length !== boxes.length) throw new RangeError(`paintBoxes: ${scores.length} scores for ${boxes.length} boxes`);
  const [sum, count] = [new Float64Array(width * height), new Uint32Array(width * height)];
  boxes.forEach(([x0, y0, x1, y1], i) => {
    // The first and last pixel whose centre lies inside.
    const [left, top] = [Math.max(0, Math.ceil(x0 - 0.5)), Math.max(0, Math.ceil(y0 - 0.5))];
    for (let y = top; y < height && y + 0.5 < y1; y++)
      for (let x = left; x < width && x + 0.5 < x1; x++) {
        sum[y * width + x]! += scores[i]!;
        count[y * width + x]! += 1;
      }
  });
  return Float32Array.from(sum, (s, i) => s / count[i]!);
}

/**
 * (s - min) / (max - min), and 0 below `threshold`; the minimum and maximum are over what is a number. A constant map has
 * nothing to show and is 0 throughout, as is what is no number.
 */
export function minMax(scores: ArrayLike<number>, { threshold = 0.5 } = {}): Float32Array {
  const finite = Array.from(scores).filter(Number.isFinite);
  const [low, high] = finite.reduce(([a, b], s) => [Math.min(a, s), Math.max(b, s)], [Infinity, -Infinity]);
  return Float32Array.from(scores, (s) => {
    const y = high > low && Number.isFinite(s) ? (s - low) / (high - low) : 0;
    return y < threshold ? 0 : y;
  });
}
