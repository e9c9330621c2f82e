import { describe, expect, it } from 'vitest';
import { componentRegions } from './component-regions.ts';
import { featuriserFrom } from './featuriser.ts';
import { gridRegions } from './grid-regions.ts';
import type { RgbImage } from './image.ts';
import { areaResample, borderMedian } from './resample.ts';

type Paint = (x: number, y: number) => readonly [number, number, number];
function image(width: number, height: number, paint: Paint): RgbImage {
  const data = new Uint8Array(width * height * 3);
  for (let y = 0; y < height; y++) for (let x = 0; x < width; x++) data.set(paint(x, y), (y * width + x) * 3);
  return { width, height, data };
}
const paper = [240, 235, 250] as const;
/** A red square, and a blue one of a quarter of its area, on paper. */
const twoSquares = image(64, 48, (x, y) => (x >= 8 && x < 24 && y >= 8 && y < 24 ? [255, 0, 0] : x >= 40 && x < 48 && y >= 30 && y < 38 ? [0, 0, 255] : paper));

describe('areaResample', () => {
  it('averages whole pixels', () => {
    const out = areaResample(image(4, 2, (x, y) => [x * 10, y * 100, 7]), 2, 1);
    expect([...out]).toEqual([5, 50, 7, 25, 50, 7]);
  });

  it('shares pixels that a part cuts', () => {
    const out = areaResample(image(3, 1, (x) => [x * 30, 0, 0]), 2, 1); // parts of 1.5 pixels
    expect(out[0]).toBeCloseTo((0 * 1 + 30 * 0.5) / 1.5, 5);
    expect(out[3]).toBeCloseTo((30 * 0.5 + 60 * 1) / 1.5, 5);
  });

  it('keeps the mean and enlarges', () => {
    const odd = image(7, 5, (x, y) => [(x * 31 + y * 17) % 256, x, y]);
    const mean = (values: ArrayLike<number>) => Array.from(values).filter((_, i) => i % 3 === 0).reduce((a, b) => a + b, 0) / (values.length / 3);
    for (const [w, h] of [[3, 3], [16, 9], [7, 5]] as const) expect(mean(areaResample(odd, w, h))).toBeCloseTo(mean(odd.data), 3);
  });

  it('cuts out a region', () => {
    const out = areaResample(twoSquares, 2, 2, { x1: 8, y1: 8, x2: 24, y2: 24 });
    expect([...out]).toEqual([255, 0, 0, 255, 0, 0, 255, 0, 0, 255, 0, 0]);
  });
});

describe('borderMedian', () => {
  it('is the paper, also where a thing touches the border', () => {
    expect(borderMedian(image(10, 10, (x, y) => (x < 4 && y < 4 ? [0, 0, 0] : paper)))).toEqual([...paper]);
    expect(borderMedian(image(1, 1, () => [1, 2, 3]))).toEqual([1, 2, 3]);
  });
});

describe('gridRegions', () => {
  it('gives 64 regions of 192 numbers with boxes in pixels of the original', () => {
    const { features, boxes, width, height } = gridRegions().regions(twoSquares);
    expect([features.length, boxes.length, width, height]).toEqual([64 * 192, 64 * 4, 64, 48]);
    expect([...boxes.subarray(0, 8)]).toEqual([0, 0, 8, 6, 8, 0, 16, 6]);
    expect([...boxes.subarray(63 * 4)]).toEqual([56, 42, 64, 48]);
  });

  it('makes empty cells zero and stays in [-1, 1]', () => {
    const { features } = gridRegions().regions(twoSquares);
    expect(Math.max(...features.subarray(0, 192).map(Math.abs))).toBe(0);
    const inSquare = features.subarray((2 * 8 + 1) * 192, (2 * 8 + 1) * 192 + 3); // cell x 8..16, y 12..18
    expect([...inSquare].map((v) => v * 255)).toEqual([15, -235, -250].map((v) => expect.closeTo(v, 3) as number));
    expect(Math.max(...features.map(Math.abs))).toBeLessThanOrEqual(1);
  });

  it('does not see the shade of the paper, unless it is told to keep it', () => {
    const blank = (level: number) => image(20, 20, () => [level, level, level]);
    expect(gridRegions().regions(blank(230))).toEqual(gridRegions().regions(blank(255)));
    const keep = gridRegions({ background: 'keep', cells: 1, patch: 1 });
    expect([...keep.regions(blank(255)).features, ...keep.regions(blank(0)).features]).toEqual([1, 1, 1, -1, -1, -1]);
  });

  it('gives the same features for an image twice as large', () => {
    const double = image(128, 96, (x, y) => {
      const at = (Math.floor(y / 2) * 64 + Math.floor(x / 2)) * 3;
      return [twoSquares.data[at]!, twoSquares.data[at + 1]!, twoSquares.data[at + 2]!];
    });
    const [a, b] = [gridRegions().regions(twoSquares).features, gridRegions().regions(double).features];
    expect(Math.max(...a.map((x, i) => Math.abs(x - b[i]!)))).toBeLessThan(1e-5);
  });
});

describe('componentRegions', () => {
  it('gives the whole image, then components by area', () => {
    const { features, boxes } = componentRegions().regions(twoSquares);
    expect([...boxes]).toEqual([0, 0, 64, 48, 8, 8, 24, 24, 40, 30, 48, 38]);
    expect(features.length).toBe(3 * 192);
    expect([...features.subarray(192, 195)].map((v) => Math.round(v * 255))).toEqual([15, -235, -250]);
  });

  it('drops specks, keeps the largest, and connects over corners', () => {
    const dots = image(40, 40, (x, y) => ((x === 5 && y === 5) || (x >= 10 && x < 14 && y === x) || (x >= 20 && x < 24 && y >= 20 && y < 24) ? [0, 0, 0] : paper));
    expect([...componentRegions({ speck: 0.002 }).regions(dots).boxes.subarray(4)]).toEqual([20, 20, 24, 24, 10, 10, 14, 14]);
    expect([...componentRegions({ max: 1 }).regions(dots).boxes.subarray(4)]).toEqual([20, 20, 24, 24]);
  });

  it('gives the image alone when it is blank', () => {
    expect([...componentRegions().regions(image(9, 9, () => paper)).boxes]).toEqual([0, 0, 9, 9]);
  });
});

describe('featuriserFrom', () => {
  it('makes a featuriser again from its name', () => {
    for (const spec of ['grid', 'grid:{"cells":4}', 'components', 'components:{"max":3}']) {
      const made = featuriserFrom(spec);
      expect(featuriserFrom(made.name).name).toBe(made.name);
      expect(made.size).toBe(192);
    }
    expect(featuriserFrom('grid:{"cells":4}').regions(twoSquares).boxes.length).toBe(16 * 4);
  });

  it('names the nearest kind and option', () => {
    expect(() => featuriserFrom('gird')).toThrow("no featuriser 'gird'. Did you mean 'grid'?");
    expect(() => featuriserFrom('toString')).toThrow("no featuriser 'toString'");
    expect(() => featuriserFrom('grid:{"cell":4}')).toThrow("no option 'cell'. Did you mean 'cells'?");
    expect(() => featuriserFrom('grid:{"cells":0}')).toThrow("featuriser 'grid': cells:");
    expect(() => featuriserFrom('grid:cells=4')).toThrow('is not JSON');
    expect(() => gridRegions({ patch: 1.5 })).toThrow("featuriser 'grid': patch:");
  });
});
