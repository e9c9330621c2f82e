import type { RgbImage } from './image.ts';

/** A rectangle of an image in pixels, x2 and y2 exclusive. */
export interface Rectangle {
  readonly x1: number;
  readonly y1: number;
  readonly x2: number;
  readonly y2: number;
}

/** For each of `to` output cells over [begin, end): first source pixel and the share of each pixel it covers. */
function shares(begin: number, end: number, to: number): { first: number; weights: Float64Array }[] {
  const step = (end - begin) / to;
  return Array.from({ length: to }, (_, i) => {
    const from = begin + i * step;
    const until = begin + (i + 1) * step;
    const first = Math.floor(from);
    const count = Math.max(1, Math.ceil(until - 1e-9) - first);
    const weights = new Float64Array(count);
    for (let k = 0; k < count; k++) weights[k] = Math.max(0, Math.min(first + k + 1, until) - Math.max(first + k, from)) / step;
    return { first, weights };
  });
}

/**
 * Area average: out[y, x, c] = mean of the image over the x-th of `width` and the y-th of `height` equal parts of
 * `region`, parts of pixels counted by their area. Serves for shrinking and for enlarging. -> [height, width, 3], 0..255
 */
export function areaResample(image: RgbImage, width: number, height: number, region: Rectangle = { x1: 0, y1: 0, x2: image.width, y2: image.height }): Float32Array {
  const out = new Float32Array(width * height * 3);
  const same = region.x2 - region.x1 === width && region.y2 - region.y1 === height;
  if (same && region.x1 === 0 && region.y1 === 0 && image.width === width) {
    out.set(image.data.subarray(0, out.length));
    return out;
  }
  const columns = shares(region.x1, region.x2, width);
  const rows = shares(region.y1, region.y2, height);
  const top = rows[0]!.first;
  const bottom = rows[height - 1]!.first + rows[height - 1]!.weights.length;
  const narrow = new Float64Array((bottom - top) * width * 3); // [source rows, width, 3]
  for (let y = top; y < bottom; y++)
    columns.forEach(({ first, weights }, x) => {
      const to = ((y - top) * width + x) * 3;
      for (let k = 0; k < weights.length; k++) {
        const from = (y * image.width + first + k) * 3;
        const share = weights[k]!;
        for (let c = 0; c < 3; c++) narrow[to + c]! += share * image.data[from + c]!;
      }
    });
  rows.forEach(({ first, weights }, y) => {
    for (let k = 0; k < weights.length; k++) {
      const from = (first + k - top) * width * 3;
      const share = weights[k]!;
      for (let i = 0; i < width * 3; i++) out[y * width * 3 + i]! += share * narrow[from + i]!;
    }
  });
  return out;
}

/** The median per channel of the outermost ring of pixels: what an image of things on a plain ground has behind them. */
export function borderMedian({ width, height, data }: RgbImage): readonly [number, number, number] {
  const counts = [new Uint32Array(256), new Uint32Array(256), new Uint32Array(256)] as const;
  let total = 0;
  const count = (x: number, y: number) => {
    const at = (y * width + x) * 3;
    for (const c of [0, 1, 2] as const) counts[c][data[at + c]!]!++;
    total++;
  };
  for (let x = 0; x < width; x++) {
    count(x, 0);
    if (height > 1) count(x, height - 1);
  }
  for (let y = 1; y < height - 1; y++) {
    count(0, y);
    if (width > 1) count(width - 1, y);
  }
  const median = (histogram: Uint32Array) => {
    let level = 0;
    for (let seen = histogram[0]!; seen * 2 < total; seen += histogram[level]!) level++;
    return level;
  };
  return [median(counts[0]), median(counts[1]), median(counts[2])];
}
