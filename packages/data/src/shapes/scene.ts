import type { Random } from '@espalier/core';
import { DataError } from '../errors.ts';
import { attributes, type Attributes } from './attributes.ts';

/** An object: its attributes and its box in pixels; it fills the box (a triangle with its base along one side). */
export interface SceneObject extends Attributes {
  readonly x: number; // centre
  readonly y: number;
  readonly halfWidth: number;
  readonly halfHeight: number;
  readonly apex: 'up' | 'down' | 'left' | 'right'; // where a triangle points
}

export interface Scene {
  readonly pixels: number; // side of the square image
  readonly background: readonly [number, number, number];
  readonly objects: readonly SceneObject[];
}

export interface SceneOptions {
  readonly pixels?: number; // default 64
  readonly most?: number; // objects, 1 to 5; default 5
}

const TRIES = 40;

/**
 * A random scene: 1 to `most` objects, each number equally likely, on a light background (channels 230 to 255), at least
 * 2/64 of the side apart and from the border. Per attribute the number of different values is drawn first, so that alike
 * objects, and with them large counts, are common. Small objects measure about 10/64 of the side, large ones 19/64.
 */
export function randomScene(rng: Random, { pixels = 64, most = 5 }: SceneOptions = {}): Scene {
  if (!Number.isInteger(pixels) || pixels < 32 || pixels > 1024) throw new DataError(`a scene of ${pixels} pixels: give a whole number from 32 to 1024`);
  if (!Number.isInteger(most) || most < 1 || most > 5) throw new DataError(`a scene of at most ${most} objects: give a whole number from 1 to 5`);
  const background = [230 + rng.integer(26), 230 + rng.integer(26), 230 + rng.integer(26)] as const;
  const count = 1 + rng.integer(most);
  for (;;) {
    const objects = place(rng, pixels, randomAttributes(rng, count));
    if (objects) return { pixels, background, objects };
  }
}

function randomAttributes(rng: Random, count: number): Attributes[] {
  const values = <T>(all: readonly T[]): T[] => {
    const pool = rng.permutation(all.length).slice(0, 1 + rng.integer(Math.min(count, all.length)));
    return Array.from({ length: count }, () => all[pool[rng.integer(pool.length)]!]!);
  };
  const [sizes, colors, shapes] = [values(attributes.size), values(attributes.color), values(attributes.shape)];
  return sizes.map((size, i) => ({ size, color: colors[i]!, shape: shapes[i]! }));
}

/** Large objects first; undefined when one finds no room. The order of the result is random. */
function place(rng: Random, pixels: number, wanted: readonly Attributes[]): SceneObject[] | undefined {
  const unit = pixels / 64;
  const gap = 2 * unit;
  const placed: SceneObject[] = [];
  for (const it of [...wanted].sort((a, b) => attributes.size.indexOf(b.size) - attributes.size.indexOf(a.size))) {
    const half = unit * (it.size === 'large' ? 9 + 1.5 * rng.uniform() : 4.5 + 0.75 * rng.uniform());
    const aspect = it.shape === 'rectangle' ? 0.85 + 0.3 * rng.uniform() : 1;
    const [halfWidth, halfHeight] = [half * aspect, half / aspect];
    const apex = (['up', 'down', 'left', 'right'] as const)[rng.integer(4)]!;
    const inside = (extent: number) => gap + extent + rng.uniform() * (pixels - 2 * (gap + extent));
    let found = false;
    for (let i = 0; i < TRIES && !found; i++) {
      const object = { ...it, x: inside(halfWidth), y: inside(halfHeight), halfWidth, halfHeight, apex };
      if (placed.some((other) => overlaps(object, other, gap))) continue;
      placed.push(object);
      found = true;
    }
    if (!found) return undefined;
  }
  return rng.permutation(placed.length).map((i) => placed[i]!);
}

function overlaps(a: SceneObject, b: SceneObject, gap: number): boolean {
  return Math.abs(a.x - b.x) < a.halfWidth + b.halfWidth + gap && Math.abs(a.y - b.y) < a.halfHeight + b.halfHeight + gap;
}

export const relations = ['left of', 'right of', 'above', 'below'] as const;
export type Relation = (typeof relations)[number];

/**
 * Whether `a` is `relation` `b`: true when a's box ends at least 2/64 of the side before b's begins, false when a's
 * centre is not on that side at all, undefined between: such a pair is asked about by nobody.
 */
export function related({ pixels }: Scene, a: SceneObject, relation: Relation, b: SceneObject): boolean | undefined {
  const along = relation === 'left of' || relation === 'right of';
  const forward = relation === 'left of' || relation === 'above';
  const distance = (along ? b.x - a.x : b.y - a.y) * (forward ? 1 : -1);
  if (distance <= 0) return false;
  const extents = along ? a.halfWidth + b.halfWidth : a.halfHeight + b.halfHeight;
  return distance >= extents + (2 / 64) * pixels ? true : undefined;
}
