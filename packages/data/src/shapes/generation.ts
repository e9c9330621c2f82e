import { didYouMean, random } from '@espalier/core';
import { z } from 'zod';
import { DataError, parseOptions } from '../errors.ts';
import { families, interviewer, type Family } from './questions.ts';
import { randomScene, type Scene } from './scene.ts';

const count = z.int().min(2).max(1_000_000);

export const shapesOptions = z.strictObject({
  train: count.default(2000), // images, validation included
  test: count.optional(), // images; a quarter of train
  seed: z.int().default(0),
  pixels: z.int().min(32).max(1024).default(64), // side of an image
  most: z.int().min(1).max(5).default(5), // objects in a scene
  families: z.array(z.string()).min(1).default([...families]),
  perFamily: z.int().min(1).max(10).default(1), // questions of each family about an image, where the scene allows
});
export type ShapesOptions = z.input<typeof shapesOptions>;

export interface ShapesSettings extends z.output<typeof shapesOptions> {
  readonly families: Family[];
  readonly test: number;
}

export interface ShapesQuestion {
  readonly question: string;
  readonly answer: string;
  readonly family: Family;
  readonly image: number; // place of its scene
}

export interface ShapesSplit {
  readonly scenes: readonly Scene[];
  readonly questions: readonly ShapesQuestion[];
}

/** Options checked and completed. @throws DataError with the nearest option or family. */
export function shapesSettings(given: ShapesOptions): ShapesSettings {
  const parsed = parseOptions('shapes', shapesOptions, given);
  return {
    ...parsed,
    test: parsed.test ?? Math.max(2, Math.ceil(parsed.train / 4)),
    families: parsed.families.map((name) => {
      const family = families.find((f) => f === name);
      if (!family) throw new DataError(`shapes: no question family '${name}'.${didYouMean(name, families)} Families are ${families.join(', ')}.`);
      return family;
    }),
  };
}

/** The scene at a place of a split, keyed by (seed, split, place): the same however many there are. */
export function sceneAt(seed: number, split: string, place: number, options: { readonly pixels?: number; readonly most?: number } = {}): Scene {
  return randomScene(random(seed, 'scene', split, place), options);
}

/** The scenes of a split and the questions about them, in the order of the scenes. A shorter split is the beginning of a longer one. */
export function shapesSplit(split: 'train' | 'test', settings: ShapesSettings): ShapesSplit {
  const { seed, perFamily, pixels, most } = settings;
  const scenes = Array.from({ length: settings[split] }, (_, place) => sceneAt(seed, split, place, { pixels, most }));
  const ask = interviewer();
  const questions = scenes.flatMap((scene, image) => {
    const rng = random(seed, 'questions', split, image);
    const asked = settings.families.flatMap((family) => Array.from({ length: perFamily }, () => ask(scene, family, rng) ?? []).flat());
    const fresh = asked.filter((q, i) => asked.findIndex(({ question }) => question === q.question) === i);
    return fresh.map((q) => ({ ...q, image }));
  });
  if (!questions.length) throw new DataError(`shapes: no scene of ${scenes.length} allows a question of ${settings.families.join(', ')}. Ask for more images or families.`);
  return { scenes, questions };
}
