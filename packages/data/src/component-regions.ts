import { z } from 'zod';
import { parseOptions } from './errors.ts';
import type { Featuriser } from './featuriser.ts';
import type { RgbImage } from './image.ts';
import { areaResample, borderMedian, type Rectangle } from './resample.ts';

export const componentOptions = z.strictObject({
  max: z.int().min(1).max(255).default(16), // components kept, beside the whole image
  patch: z.int().min(1).max(64).default(8), // samples per side: F = 3 patch^2
  threshold: z.int().min(1).max(255).default(32), // of the largest channel difference to the background
  speck: z.number().min(0).max(1).default(0.002), // smaller components are dropped, as a share of the image's area
});
export type ComponentOptions = z.input<typeof componentOptions>;

interface Component extends Rectangle {
  readonly area: number;
}

/**
 * Region 0 is the whole image; the others are its foreground components, largest first, at most `max`. Foreground is
 * what differs from the median of the border by more than `threshold` in some channel; pixels connect over edges and
 * corners. Each region is cut out by its bounding box, area-averaged to patch x patch and given as
 * (pixel - background) / 255 in [-1, 1]: F = 3 patch^2 = 192 as the grid's, so that one backbone takes either.
 */
export function componentRegions(options: ComponentOptions = {}): Featuriser {
  const parsed = parseOptions("featuriser 'components'", componentOptions, options);
  const { max, patch, threshold, speck } = parsed;
  const size = patch * patch * 3;
  return {
    name: `components:${JSON.stringify(parsed)}`,
    size,
    regions: (image) => {
      const { width, height } = image;
      const level = borderMedian(image);
      const found = components(image, level, threshold)
        .filter(({ area }) => area >= Math.max(2, speck * width * height))
        .sort((a, b) => b.area - a.area || a.y1 - b.y1 || a.x1 - b.x1)
        .slice(0, max);
      const all: readonly Rectangle[] = [{ x1: 0, y1: 0, x2: width, y2: height }, ...found];
      const features = new Float32Array(all.length * size);
      const boxes = new Float32Array(all.length * 4);
      all.forEach((box, r) => {
        boxes.set([box.x1, box.y1, box.x2, box.y2], r * 4);
        const pixels = areaResample(image, patch, patch, box);
        for (let i = 0; i < size; i++) features[r * size + i] = (pixels[i]! - level[i % 3]!) / 255;
      });
      return { features, boxes, width, height };
    },
  };
}

/** The 8-connected components of the pixels unlike `level`, in the order of their first pixel. */
function components({ width, height, data }: RgbImage, level: readonly [number, number, number], threshold: number): Component[] {
  const open = new Uint8Array(width * height); // 1 = foreground not yet visited
  for (let i = 0; i < open.length; i++)
    if (Math.max(Math.abs(data[3 * i]! - level[0]), Math.abs(data[3 * i + 1]! - level[1]), Math.abs(data[3 * i + 2]! - level[2])) > threshold) open[i] = 1;
  const stack: number[] = [];
  const found: Component[] = [];
  for (let start = 0; start < open.length; start++) {
    if (!open[start]) continue;
    let [area, x1, y1, x2, y2] = [0, width, height, 0, 0];
    open[start] = 0;
    stack.push(start);
    for (let at = stack.pop(); at !== undefined; at = stack.pop()) {
      const x = at % width;
      const y = (at - x) / width;
      area++;
      [x1, y1, x2, y2] = [Math.min(x1, x), Math.min(y1, y), Math.max(x2, x + 1), Math.max(y2, y + 1)];
      for (let v = Math.max(0, y - 1); v <= Math.min(height - 1, y + 1); v++)
        for (let u = Math.max(0, x - 1); u <= Math.min(width - 1, x + 1); u++)
          if (open[v * width + u]) {
            open[v * width + u] = 0;
            stack.push(v * width + u);
          }
    }
    found.push({ area, x1, y1, x2, y2 });
  }
  return found;
}
