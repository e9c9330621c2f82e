import { describe, expect, it } from 'vitest';
import type { RgbImage } from './image.ts';
import { enlarged, overlay, paintRegions, sheet, spreadOut } from './overlay.ts';

const grey = (width: number, height: number, value = 100): RgbImage => ({ width, height, data: new Uint8Array(3 * width * height).fill(value) });

describe('scores over an image', () => {
  it('are painted as the mean over the boxes that cover a pixel', () => {
    const painted = paintRegions([1, 3], [0, 0, 2, 2, 1, 0, 3, 1], { width: 4, height: 2 });
    expect(Array.from(painted)).toEqual([1, 2, 3, NaN, 1, 1, NaN, NaN]);
    expect(Array.from(paintRegions([1], [-5, -5, 1, 1], { width: 1, height: 2 }))).toEqual([1, NaN]);
    expect(() => paintRegions([1], [], { width: 1, height: 1 })).toThrow('1 scores for 0 boxes');
  });

  it('are brought to 0 to 1; one number alone is 0, and no division', () => {
    expect(Array.from(spreadOut(Float64Array.of(-1, NaN, 3, 1)))).toEqual([0, NaN, 1, 0.5]);
    expect(Array.from(spreadOut(Float64Array.of(2, 2, NaN)))).toEqual([0, 0, NaN]);
    expect(Array.from(spreadOut([]))).toEqual([]);
  });

  it('are laid over it where they are high', () => {
    const image = overlay(grey(3, 1), Float64Array.of(0.4, 1, NaN));
    expect(Array.from(image.data.subarray(0, 3))).toEqual([75, 75, 75]);
    expect(Array.from(image.data.subarray(6))).toEqual([75, 75, 75]);
    const [r, g, b] = image.data.subarray(3, 6);
    expect(r! > g! && r! > b!).toBe(true); // Turbo ends in red
  });

  it('become a sheet of pictures', () => {
    const picture = enlarged({ width: 2, height: 1, data: Uint8Array.of(1, 2, 3, 4, 5, 6) }, 2);
    expect(Array.from(picture.data.subarray(0, 12))).toEqual([1, 2, 3, 1, 2, 3, 4, 5, 6, 4, 5, 6]);
    const { width, height, data } = sheet([[grey(2, 2, 0), grey(2, 2, 9)]], 1);
    expect([width, height]).toEqual([7, 4]);
    expect(Array.from({ length: 7 }, (_, x) => data[3 * (7 + x)])).toEqual([255, 0, 0, 255, 9, 9, 255]);
  });
});
