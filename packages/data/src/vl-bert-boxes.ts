import { DataError } from './errors.ts';
import type { Regions } from './featuriser.ts';

export interface VlBertBoxOptions {
  /** Mirrors the boxes; default false. `flips` decides for a sample. */
  readonly flip?: boolean;
  /** Pixels the shorter side gets; default 600. */
  readonly shorter?: number;
  /** Pixels the longer side has at most; default 1000. */
  readonly longer?: number;
}

/** K = n + 1 objects, the whole image first. */
export interface VlBertObjects {
  readonly boxes: Float32Array; // [K, 4] pixels of the resized image
  readonly features: Float32Array; // [K, F]
  readonly imInfo: readonly [width: number, height: number, ratioX: number, ratioY: number]; // of the resized image
}

/**
 * VL-BERT's boxes (arXiv 1908.08530), step by step as its data pipeline has them, in float32: the box [0, 0, w-1, h-1] in front, with
 * the image's feature or else the mean of all; sides to 600 and at most 1000 with every quotient rounded down; boxes times
 * the ratio of each axis; x1' = w-1-x2 where flipped; x clamped to [0, w-1], y to [0, h-1].
 */
export function vlBertBoxes({ boxes, features, imageFeature, width, height }: Regions, { flip = false, shorter = 600, longer = 1000 }: VlBertBoxOptions = {}): VlBertObjects {
  const count = boxes.length / 4;
  if (!count) throw new DataError('VL-BERT boxes: an image without regions; the mean of its features has no meaning');
  const size = features.length / count;
  const [w, h] = resized(width, height, shorter, longer);
  const ratios = [ratio(w, width), ratio(h, height)] as const;
  const corners = new Float32Array(boxes.length + 4);
  corners.set([0, 0, width - 1, height - 1]);
  corners.set(boxes, 4);
  for (let i = 0; i < corners.length; i++) corners[i]! *= ratios[i % 2]!;
  if (flip) mirror(corners, w);
  for (let i = 0; i < corners.length; i++) corners[i] = Math.min(Math.max(corners[i]!, 0), (i % 2 ? h : w) - 1);
  const objects = new Float32Array(features.length + size);
  objects.set(imageFeature ?? meanOf(features, size));
  objects.set(features, size);
  return { boxes: corners, features: objects, imInfo: [w, h, ...ratios] };
}

/** x1' = width - 1 - x2 and x2' = width - 1 - x1, in place. */
export function mirror(boxes: Float32Array, width: number): void {
  for (let i = 0; i < boxes.length; i += 4) {
    const x1 = boxes[i]!;
    boxes[i] = width - 1 - boxes[i + 2]!;
    boxes[i + 2] = width - 1 - x1;
  }
}

/** The reference rounds towards zero, which is down for sizes. */
function resized(width: number, height: number, shorter: number, longer: number): readonly [number, number] {
  const [short, long] = [Math.min(width, height), Math.max(width, height)];
  const size = (long / short) * shorter > longer ? Math.floor((longer * short) / long) : shorter;
  if (short === size) return [width, height];
  const other = Math.floor(Math.fround(Math.fround(size * long) / short));
  return width < height ? [size, other] : [other, size];
}

/** A number divided by a tensor is the tensor's reciprocal times the number, each rounded to float32. */
const ratio = (to: number, from: number) => Math.fround(Math.fround(1 / from) * to);

function meanOf(features: Float32Array, size: number): Float32Array {
  const mean = new Float64Array(size);
  features.forEach((x, i) => {
    mean[i % size]! += x;
  });
  return Float32Array.from(mean, (x) => x / (features.length / size));
}
