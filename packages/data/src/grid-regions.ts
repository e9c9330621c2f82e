import { z } from 'zod';
import { parseOptions } from './errors.ts';
import type { Featuriser } from './featuriser.ts';
import { areaResample, borderMedian } from './resample.ts';

export const gridOptions = z.strictObject({
  cells: z.int().min(1).max(64).default(8), // per side: R = cells^2
  patch: z.int().min(1).max(64).default(8), // samples per side of a cell: F = 3 patch^2
  background: z.enum(['subtract', 'keep']).default('subtract'),
});
export type GridOptions = z.input<typeof gridOptions>;

/**
 * feature[r] = (patch of cell r - background) / 255, in [-1, 1]: R = cells^2 = 64 regions of F = 3 patch^2 = 192 numbers.
 * The image is area-averaged to (cells patch)^2 whatever its size, cells go row by row, a patch is row by row with its
 * colours together; boxes are the cells in pixels of the original. The background is the median of the image's border
 * per channel, so that empty cells are zero and a shade of the paper says nothing; `background: 'keep'` centres by 127.5
 * instead (x / 127.5 - 1), for photographs whose level carries meaning.
 */
export function gridRegions(options: GridOptions = {}): Featuriser {
  const parsed = parseOptions("featuriser 'grid'", gridOptions, options);
  const { cells, patch, background } = parsed;
  const side = cells * patch;
  const size = patch * patch * 3;
  return {
    name: `grid:${JSON.stringify(parsed)}`,
    size,
    regions: (image) => {
      const pixels = areaResample(image, side, side); // [side, side, 3]
      const level = background === 'keep' ? [127.5, 127.5, 127.5] : borderMedian(image);
      const divisor = background === 'keep' ? 127.5 : 255;
      const features = new Float32Array(cells * cells * size);
      const boxes = new Float32Array(cells * cells * 4);
      let to = 0;
      for (let row = 0; row < cells; row++)
        for (let column = 0; column < cells; column++) {
          const x = image.width / cells;
          const y = image.height / cells;
          boxes.set([column * x, row * y, (column + 1) * x, (row + 1) * y], (row * cells + column) * 4);
          for (let j = 0; j < patch; j++) {
            let from = ((row * patch + j) * side + column * patch) * 3;
            for (let i = 0; i < patch; i++) for (let c = 0; c < 3; c++) features[to++] = (pixels[from++]! - level[c]!) / divisor;
          }
        }
      return { features, boxes, width: image.width, height: image.height };
    },
  };
}
