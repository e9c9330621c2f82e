import { EspalierError, readings, tensorsIn, type Reading } from '@espalier/core';
import { enlarged, overlay, paintRegions, sheet, spreadOut, type Regions, type RgbImage } from '@espalier/data';
import * as tf from '@tensorflow/tfjs';
import type { OpenedModel } from '../model-directory.ts';
import { questionBatch } from '../question-batch.ts';

/** What one plugin shows at one place: a score per label for every word and region, with the plugins in force and without. */
export interface ExplainedPlace {
  readonly instance: string;
  readonly path: string; // of the site
  readonly stream: string | undefined;
  readonly labels: readonly string[];
  readonly variants: Readonly<Record<string, { readonly words: readonly (readonly number[])[]; readonly regions: readonly (readonly number[])[] }>>; // [label][token]
}

export interface Explanation {
  readonly image: RgbImage;
  readonly words: readonly string[];
  readonly boxes: readonly (readonly number[])[]; // x1 y1 x2 y2 in pixels
  readonly places: readonly ExplainedPlace[];
}

/** What a trained model's plugins show of one question about an image file. @throws EspalierError when none of them shows anything, and as `questionBatch`. */
export async function explanationOf(opened: OpenedModel, file: string, question: string): Promise<Explanation> {
  const { model, adapted, tokens, directory } = opened;
  if (!adapted.plan.readouts.length) throw new EspalierError(`${directory}: none of its plugins shows anything (${adapted.plugins.map((p) => p.instance).join(', ') || 'it has none'}). Plugins with readouts do, such as gift and toast.`);
  const { batch, image, regions } = await questionBatch(opened, file, question);
  const inputs = model.inputs(batch);
  try {
    const ids = [...batch.questions.filter((id) => id > 0)];
    return { image, words: ids.map((id) => tokens.pieces[id] ?? '?'), boxes: boxesOf(regions), places: placed(await readings(adapted, inputs), model.places(batch), ids.length, regions.boxes.length / 4) };
  } finally {
    tf.dispose(tensorsIn(inputs));
  }
}

const boxesOf = ({ boxes }: Regions) => Array.from({ length: boxes.length / 4 }, (_, r) => Array.from(boxes.subarray(4 * r, 4 * r + 4)));

type Places = ReturnType<OpenedModel['model']['places']>;

/** Readings by place, cut to the words and regions that are there. */
function placed(found: readonly Reading[], places: Places, words: number, regions: number): ExplainedPlace[] {
  const all = new Map<string, ExplainedPlace & { variants: Record<string, { words: number[][]; regions: number[][] }> }>();
  for (const { instance, path, stream, labels, variant, shape, values } of found) {
    const key = `${instance} ${path}`;
    const place = all.get(key) ?? { instance, path, stream, labels, variants: {} };
    all.set(key, place);
    const count = shape.at(-1)!;
    const scores = (at: Places['words'], tokens: number) =>
      labels.map((_, m) => (stream === at.stream ? Array.from({ length: tokens }, (_, t) => values[(at.from + t) * count + m]!) : []));
    place.variants[variant] = { words: scores(places.words, words), regions: scores(places.regions, regions) };
  }
  return [...all.values()];
}

/** The pictures of a place: a row per variant, a column per label; undefined where it has no regions. */
export function pictureOf({ image, boxes }: Explanation, place: ExplainedPlace): RgbImage | undefined {
  const variants = Object.values(place.variants).filter(({ regions }) => regions.some((scores) => scores.length));
  if (!variants.length) return undefined;
  const by = Math.max(1, Math.floor(128 / Math.max(image.width, image.height)));
  const flat = boxes.flat();
  return sheet(variants.map(({ regions }) => regions.map((scores) => enlarged(overlay(image, spreadOut(paintRegions(scores, flat, image))), by))));
}
