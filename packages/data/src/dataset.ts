import { random } from '@espalier/core';
import { DataError } from './errors.ts';
import type { Regions } from './featuriser.ts';
import type { Finding } from './findings.ts';
import type { RgbImage } from './image.ts';

/** `unlabelled`: a test question whose answer is not published. */
export type AnswerType = 'yes/no' | 'number' | 'other' | 'unlabelled';

/** One question about one image. */
export interface VqaRecord {
  readonly id: string; // stable: 'train/17'
  readonly image: string; // key for `VqaData.regions`
  readonly question: string;
  readonly scores: readonly (readonly [answer: number, score: number])[]; // soft scores in (0, 1]; the rest are 0
  readonly answerType: AnswerType;
  readonly questionType: string; // the question family, as fine as the data set tells it
}

export interface VqaSplits {
  readonly train: readonly VqaRecord[];
  readonly validation: readonly VqaRecord[];
  readonly test?: readonly VqaRecord[];
}

/** A visual question answering data set, whatever it was read from. */
export interface VqaData {
  readonly name: string;
  readonly answers: readonly string[]; // the vocabulary; its order is the order of logits
  readonly splits: VqaSplits;
  readonly featureSize: number; // F
  regions(image: string): Promise<Regions>;
  /** The picture itself, where the data set holds pictures. */
  readonly image?: (image: string) => Promise<RgbImage>;
  /** What was skipped or found odd while reading. */
  report(): readonly Finding[];
}

/** yes or no: 'yes/no'; digits: 'number'; else 'other'. */
export function answerTypeOf(answer: string): AnswerType {
  if (answer === 'yes' || answer === 'no') return 'yes/no';
  return /^\d+$/.test(answer) ? 'number' : 'other';
}

/** A seeded sample of `n` records without replacement, in their own order; a smaller sample is part of a larger one. */
export function limit<T>(records: readonly T[], n: number, seed: number): readonly T[] {
  if (!Number.isInteger(n) || n < 1) throw new DataError(`cannot take a sample of ${n} records: give a whole number of at least 1`);
  if (n >= records.length) return records;
  const chosen = random(seed, 'limit').permutation(records.length).slice(0, n);
  return chosen.sort((a, b) => a - b).map((i) => records[i]!);
}

/**
 * Sets aside a share of the *images*, so that no image is on both sides: each image has a place keyed by (seed, name),
 * the first `share` of them (rounded, at least one) are validation. Depends on neither the order nor the number of questions.
 */
export function splitByImage(records: readonly VqaRecord[], seed: number, share = 0.1): Pick<VqaSplits, 'train' | 'validation'> {
  const images = [...new Set(records.map((r) => r.image))].map((image) => ({ image, at: random(seed, 'validation', image).uniform() }));
  if (images.length < 2) throw new DataError(`a validation split needs at least two training images, there ${images.length === 1 ? 'is one' : 'are none'}`);
  images.sort((a, b) => a.at - b.at || (a.image < b.image ? -1 : 1));
  const held = new Set(images.slice(0, Math.min(images.length - 1, Math.max(1, Math.round(images.length * share)))).map(({ image }) => image));
  return { train: records.filter((r) => !held.has(r.image)), validation: records.filter((r) => held.has(r.image)) };
}
