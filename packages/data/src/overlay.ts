import { interpolateTurbo } from 'd3-scale-chromatic';
import { DataError } from './errors.ts';
import type { RgbImage } from './image.ts';

/**
 * A score per pixel from a score per region: the mean over the boxes that cover the pixel's centre, NaN where none does.
 * Row by row, [height * width]; boxes [R, 4] x1 y1 x2 y2 in pixels. @throws DataError when there is not one score per box.
 */
export function paintRegions(scores: ArrayLike<number>, boxes: ArrayLike<number>, { width, height }: { readonly width: number; readonly height: number }): Float64Array {
  if (boxes.length !== 4 * scores.length) throw new DataError(`paintRegions: ${scores.length} scores for ${boxes.length / 4} boxes`);
  const sum = new Float64Array(width * height);
  const count = new Uint32Array(width * height);
  for (let r = 0; r < scores.length; r++) {
    const [x1, y1, x2, y2] = [0, 1, 2, 3].map((i) => boxes[4 * r + i]!) as [number, number, number, number];
    const [left, top] = [Math.max(0, Math.ceil(x1 - 0.5)), Math.max(0, Math.ceil(y1 - 0.5))];
    for (let y = top; y < height && y + 0.5 < y2; y++)
      for (let x = left; x < width && x + 0.5 < x2; x++) {
        sum[y * width + x]! += scores[r]!;
        count[y * width + x]!++;
      }
  }
  return sum.map((s, i) => s / count[i]!);
}

/** (v - min) / (max - min) over what is a number; a constant map is 0 throughout, what is no number stays so. */
export function spreadOut(values: ArrayLike<number>): Float64Array {
  let [low, high] = [Infinity, -Infinity];
  for (const x of Array.from(values)) if (!Number.isNaN(x)) [low, high] = [Math.min(low, x), Math.max(high, x)];
  return Float64Array.from(values, (x) => (Number.isNaN(x) ? NaN : high > low ? (x - low) / (high - low) : 0));
}

/** Lays values in [0, 1] over an image: those of at least `threshold` in the colours of Turbo, `alpha` of 1 opaque; others leave it, a little darker. */
export function overlay(image: RgbImage, values: Float64Array, { threshold = 0.5, alpha = 0.6 }: { threshold?: number; alpha?: number } = {}): RgbImage {
  const data = new Uint8Array(image.data.length);
  for (let i = 0; i < values.length; i++) {
    const v = values[i]!;
    const colour = v >= threshold ? turbo(v) : undefined;
    for (let c = 0; c < 3; c++) data[3 * i + c] = Math.round(colour ? (1 - alpha) * image.data[3 * i + c]! + alpha * colour[c]! : 0.75 * image.data[3 * i + c]!);
  }
  return { ...image, data };
}

const table = new Map<number, readonly [number, number, number]>();

/** Colour of a value in [0, 1], 256 steps. */
function turbo(value: number): readonly [number, number, number] {
  const step = Math.round(255 * value);
  const known = table.get(step);
  if (known) return known;
  const [r = 0, g = 0, b = 0] = (interpolateTurbo(step / 255).match(/\d+/g) ?? []).map(Number);
  table.set(step, [r, g, b]);
  return [r, g, b];
}

/** Every pixel `by` times in both directions. */
export function enlarged({ width, height, data }: RgbImage, by: number): RgbImage {
  const out = new Uint8Array(width * by * height * by * 3);
  for (let y = 0; y < height * by; y++)
    for (let x = 0; x < width * by; x++) {
      const from = 3 * (Math.floor(y / by) * width + Math.floor(x / by));
      out.set(data.subarray(from, from + 3), 3 * (y * width * by + x));
    }
  return { width: width * by, height: height * by, data: out };
}

/** Pictures of one size in rows, on white, `gap` pixels apart. */
export function sheet(rows: readonly (readonly RgbImage[])[], gap = 4): RgbImage {
  const { width = 1, height = 1 } = rows[0]?.[0] ?? {};
  const columns = Math.max(...rows.map((row) => row.length));
  const [w, h] = [columns * (width + gap) + gap, rows.length * (height + gap) + gap];
  const data = new Uint8Array(3 * w * h).fill(255);
  rows.forEach((row, r) =>
    row.forEach((image, c) => {
      const [left, top] = [gap + c * (width + gap), gap + r * (height + gap)];
      for (let y = 0; y < height; y++) data.set(image.data.subarray(3 * y * width, 3 * (y + 1) * width), 3 * ((top + y) * w + left));
    }),
  );
  return { width: w, height: h, data };
}
