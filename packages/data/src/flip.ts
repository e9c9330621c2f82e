import { random } from '@espalier/core';
import type { VqaRecord } from './dataset.ts';
import { DataError } from './errors.ts';
import type { Regions } from './featuriser.ts';
import { mirror } from './vl-bert-boxes.ts';

export interface FlipOptions {
  readonly seed: number;
  readonly epoch: number;
  /** The share of samples that are mirrored; default 0.5. */
  readonly share?: number;
}

/** Whether a sample is mirrored in an epoch: uniform(seed, epoch, sample) < share, whatever batch it stands in. */
export function flips(sample: string, { seed, epoch, share = 0.5 }: FlipOptions): boolean {
  if (!(share >= 0 && share <= 1)) throw new DataError(`flip: share is ${share}, expected 0 to 1`);
  return random(seed, 'flip', epoch, sample).uniform() < share;
}

/** x1' = w - 1 - x2, x2' = w - 1 - x1, not beyond [0, w - 1]. Features stay: they were extracted from the image as it is. */
export function flippedRegions(regions: Regions): Regions {
  const boxes = regions.boxes.slice();
  mirror(boxes, regions.width);
  for (let i = 0; i < boxes.length; i += 2) boxes[i] = Math.min(Math.max(boxes[i]!, 0), regions.width - 1);
  return { ...regions, boxes };
}

/**
 * The words left and right exchanged, in their own capitals; 'leftover' and 'bright' are other words. VL-BERT exchanges word
 * pieces of the question and what stands between spaces in an answer: the same but for an answer like 'left-handed'.
 */
export function flippedText(text: string): string {
  return text.replace(/(?<![\p{L}\p{N}])(left|right)(?![\p{L}\p{N}])/giu, (word) => matchCase(word.toLowerCase() === 'left' ? 'right' : 'left', word));
}

/**
 * Mirrors a record's words: the question, and each answer that is scored. An answer whose mirror image is not in the
 * vocabulary loses its score, as it would have none had the annotators given it.
 */
export function flippedRecord(record: VqaRecord, mirrored: readonly number[]): VqaRecord {
  const scores = record.scores.flatMap(([answer, score]) => {
    const to = mirrored[answer] ?? -1;
    return to < 0 ? [] : [[to, score] as const];
  });
  return { ...record, question: flippedText(record.question), scores };
}

/** For each answer the place of its mirror image in the vocabulary, or -1. */
export function mirroredAnswers(answers: readonly string[]): number[] {
  const places = new Map(answers.map((answer, place) => [answer, place]));
  return answers.map((answer) => places.get(flippedText(answer)) ?? -1);
}

function matchCase(word: string, like: string): string {
  if (like === like.toUpperCase()) return word.toUpperCase();
  return like.startsWith('L') || like.startsWith('R') ? `${word.slice(0, 1).toUpperCase()}${word.slice(1)}` : word;
}
