import type { RgbImage } from '../image.ts';
import { cellClassOf, rgbOf } from './attributes.ts';
import type { Scene, SceneObject } from './scene.ts';

const SAMPLES = 2; // per side of a pixel

/** Whether a point of the image lies in the object. */
function covers({ shape, x, y, halfWidth, halfHeight, apex }: SceneObject, px: number, py: number): boolean {
  const u = (px - x) / halfWidth; // in [-1, 1] inside of the box
  const v = (py - y) / halfHeight;
  if (Math.abs(u) > 1 || Math.abs(v) > 1) return false;
  if (shape === 'rectangle') return true;
  if (shape === 'circle') return u * u + v * v <= 1;
  const [across, down] = apex === 'up' ? [u, v] : apex === 'down' ? [u, -v] : apex === 'left' ? [v, u] : [v, -u];
  return Math.abs(across) <= (down + 1) / 2; // down = -1 at the apex, 1 at the base
}

/** Calls `visit` for each pixel the object touches with the share of its 2x2 samples inside. */
function eachPixel(object: SceneObject, pixels: number, visit: (pixel: number, share: number) => void): void {
  const first = (c: number, half: number) => Math.max(0, Math.floor(c - half));
  const last = (c: number, half: number) => Math.min(pixels - 1, Math.ceil(c + half));
  for (let y = first(object.y, object.halfHeight); y <= last(object.y, object.halfHeight); y++)
    for (let x = first(object.x, object.halfWidth); x <= last(object.x, object.halfWidth); x++) {
      let inside = 0;
      for (let j = 0; j < SAMPLES; j++) for (let i = 0; i < SAMPLES; i++) if (covers(object, x + (i + 0.5) / SAMPLES, y + (j + 0.5) / SAMPLES)) inside++;
      if (inside) visit(y * pixels + x, inside / SAMPLES ** 2);
    }
}

/** Draws the scene at twice the resolution and averages: [pixels, pixels, 3]. */
export function renderScene({ pixels, background, objects }: Scene): RgbImage {
  const data = new Uint8Array(pixels * pixels * 3);
  for (let i = 0; i < data.length; i++) data[i] = background[i % 3]!;
  for (const object of objects) {
    const rgb = rgbOf[object.color];
    eachPixel(object, pixels, (pixel, share) => {
      for (let c = 0; c < 3; c++) data[pixel * 3 + c] = Math.round(rgb[c]! * share + background[c]! * (1 - share));
    });
  }
  return { width: pixels, height: pixels, data };
}

/**
 * Per cell of a cells x cells grid, row by row: `cellClassOf` the object that covers most of it, 0 (background) when none
 * covers a quarter of it. An object too small for that keeps the cell it covers most. -> [cells^2], each below `cellClasses`
 */
export function cellAttributes({ pixels, objects }: Scene, cells = 8): Int32Array {
  const classes = new Int32Array(cells * cells);
  const most = new Float32Array(cells * cells);
  for (const object of objects) {
    const area = new Float32Array(cells * cells);
    eachPixel(object, pixels, (pixel, share) => {
      const x = pixel % pixels;
      const y = (pixel - x) / pixels;
      area[Math.floor(((y + 0.5) * cells) / pixels) * cells + Math.floor(((x + 0.5) * cells) / pixels)]! += share;
    });
    const enough = Math.min(Math.max(...area), (pixels / cells) ** 2 / 4);
    area.forEach((a, cell) => {
      if (a < enough || a <= most[cell]!) return;
      most[cell] = a;
      classes[cell] = cellClassOf(object);
    });
  }
  return classes;
}
