import { random } from '@espalier/core';
import type { VqaExamples } from '@espalier/vl-models';
import type { VqaData, VqaRecord } from './dataset.ts';
import { DataError } from './errors.ts';
import type { Regions } from './featuriser.ts';
import { flippedRecord, flippedRegions, flips, mirroredAnswers, type FlipOptions } from './flip.ts';
import { prefetched } from './prefetch.ts';
import type { WordPiece } from './tokenizer.ts';

export interface BatchOptions {
  /** Where regions and the vocabulary of answers come from. */
  readonly data: Pick<VqaData, 'answers' | 'featureSize' | 'regions'>;
  readonly tokenizer: Pick<WordPiece, 'encode'>;
  readonly batchSize: number;
  /** Shuffles with the key (seed, epoch); without it records come in their own order. */
  readonly shuffle?: { readonly seed: number; readonly epoch: number };
  /** Batches made ahead of the one being used, at most; default 2. */
  readonly prefetch?: number;
  /** The first batch to make; those before it cost nothing. Default 0. */
  readonly start?: number;
  /** Leaves out the last batch when it is not full; default false. */
  readonly dropLast?: boolean;
  /** S is the longest question of the batch, rounded up to a multiple of this; default 4. */
  readonly questionBucket?: number;
  /** Longer questions are cut to this many word pieces and counted in `cut`; default 32. */
  readonly questionLimit?: number;
  /** R is the largest count of the batch, rounded up to a multiple of this; default 4. */
  readonly regionBucket?: number;
  /** Mirrors a share of the samples: their boxes, and left and right in question and answers. Default: none. */
  readonly flip?: FlipOptions;
  /** Fixes R for all batches. An image with more regions is an error. */
  readonly regions?: number;
}

export interface Batches extends AsyncIterable<VqaExamples> {
  /** Batches from `start` on. */
  readonly count: number;
  /** Questions cut to `questionLimit` so far. */
  cut(): number;
}

/**
 * Padded batches, made when they are asked for and at most `prefetch` ahead. Batch k of an epoch holds the same records
 * whatever `prefetch` and `start` are, so a resumed run continues with the batch it would have had.
 * Shapes: questions [B, S], features [B, R, F], boxes [B, R, 4], targets [B, A]; padding is zero. Where every image of a
 * batch has a feature of its own, so has the batch.
 * @throws DataError when iterated, naming the record, for a question without words, too many regions or a wrong width.
 */
export function batches(records: readonly VqaRecord[], options: BatchOptions): Batches {
  const { data, tokenizer, batchSize, shuffle, prefetch = 2, start = 0, dropLast = false } = options;
  const { questionBucket = 4, questionLimit = 32, regionBucket = 4, regions: fixed, flip } = options;
  const sizes = { batchSize, questionBucket, questionLimit, regionBucket, ...(fixed !== undefined && { regions: fixed }) };
  for (const [name, value] of Object.entries(sizes)) if (!Number.isInteger(value) || value < 1) throw new DataError(`batches: ${name} is ${value}, expected a whole number of at least 1`);
  for (const [name, value] of Object.entries({ prefetch, start })) if (!Number.isInteger(value) || value < 0) throw new DataError(`batches: ${name} is ${value}, expected a whole number of at least 0`);
  const total = dropLast ? Math.floor(records.length / batchSize) : Math.ceil(records.length / batchSize);
  if (total === 0) throw new DataError(`batches: ${records.length} records make no batch of ${batchSize}${dropLast ? ' (the last, not full one is dropped)' : ''}. Use a smaller batchSize or more records.`);
  if (start > total) throw new DataError(`batches: cannot start at batch ${start} of ${total}`);
  const order = shuffle ? random(shuffle.seed, 'shuffle', shuffle.epoch).permutation(records.length) : records.map((_, i) => i);
  const encoded = new Map<string, readonly number[]>();
  const mirrored = flip && mirroredAnswers(data.answers);
  let cut = 0;
  const encode = (record: VqaRecord): readonly number[] => {
    const ids = encoded.get(record.question) ?? tokenizer.encode(record.question);
    encoded.set(record.question, ids);
    if (!ids.length) throw new DataError(`record ${record.id}: the question '${record.question}' has no words`);
    if (ids.length <= questionLimit) return ids;
    cut++;
    return ids.slice(0, questionLimit);
  };
  const make = async (index: number): Promise<VqaExamples> => {
    const plain = order.slice(index * batchSize, (index + 1) * batchSize).map((i) => records[i]!);
    const flipped = plain.map(({ id }) => flip !== undefined && flips(id, flip));
    const chosen = mirrored ? plain.map((record, b) => (flipped[b] ? flippedRecord(record, mirrored) : record)) : plain;
    const questions = chosen.map(encode);
    const regions = await Promise.all(chosen.map(async ({ image }, b) => (flipped[b] ? flippedRegions(await data.regions(image)) : data.regions(image))));
    const most = Math.max(...regions.map(({ boxes }) => boxes.length / 4));
    if (fixed !== undefined && most > fixed) throw new DataError(`batches: an image of batch ${index} has ${most} regions, but regions is ${fixed}. Raise it, or let buckets decide.`);
    return pad(chosen, questions, regions, {
      questionLength: upTo(Math.max(...questions.map((q) => q.length)), questionBucket),
      regions: fixed ?? upTo(Math.max(1, most), regionBucket),
      featureSize: data.featureSize,
      answers: data.answers.length,
    });
  };
  return { count: total - start, cut: () => cut, [Symbol.asyncIterator]: () => prefetched(make, start, total, prefetch) };
}

const upTo = (n: number, multiple: number) => Math.ceil(n / multiple) * multiple;

function pad(
  records: readonly VqaRecord[],
  questions: readonly (readonly number[])[],
  regions: readonly Regions[],
  size: Pick<VqaExamples, 'questionLength' | 'regions' | 'featureSize' | 'answers'>,
): VqaExamples {
  const batch = records.length;
  const examples = {
    ...size,
    ids: records.map(({ id }) => id),
    questions: new Int32Array(batch * size.questionLength),
    features: new Float32Array(batch * size.regions * size.featureSize),
    boxes: new Float32Array(batch * size.regions * 4),
    regionCounts: Int32Array.from(regions, ({ boxes }) => boxes.length / 4),
    imageSizes: Float32Array.from(regions.flatMap(({ width, height }) => [width, height])),
    targets: new Float32Array(batch * size.answers),
    ...(regions.every((r) => r.imageFeature) && { imageFeatures: new Float32Array(batch * size.featureSize) }),
  };
  records.forEach(({ id, image, scores }, b) => {
    const { features, boxes, imageFeature } = regions[b]!;
    if (features.length !== (boxes.length / 4) * size.featureSize)
      throw new DataError(`record ${id}: image '${image}' has ${features.length} numbers for ${boxes.length / 4} regions, expected ${size.featureSize} for each`);
    examples.questions.set(questions[b]!, b * size.questionLength);
    examples.features.set(features, b * size.regions * size.featureSize);
    examples.boxes.set(boxes, b * size.regions * 4);
    if (imageFeature) examples.imageFeatures?.set(imageFeature, b * size.featureSize);
    for (const [answer, score] of scores) examples.targets[b * size.answers + answer] = score;
  });
  return examples;
}
