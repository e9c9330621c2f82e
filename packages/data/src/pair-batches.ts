import type { VqaExamples } from '@espalier/vl-models';
import { batches, type BatchOptions } from './batches.ts';
import { DataError } from './errors.ts';
import type { Nlvr2Record } from './nlvr2.ts';

/** The same sentences with the left and with the right images: equal ids, questions and targets, row by row. */
export interface PairExamples {
  readonly ids: readonly string[];
  readonly left: VqaExamples;
  readonly right: VqaExamples;
}

export interface PairBatches extends AsyncIterable<PairExamples> {
  readonly count: number;
}

/**
 * `batches` of both images of each record: a backbone encodes a sentence with one image and with the other, and a head takes
 * both read-outs. R of left and right may differ unless `regions` fixes it. Mirroring is not offered: it would have to
 * exchange the two images as well.
 */
export function pairBatches(records: readonly Nlvr2Record[], options: Omit<BatchOptions, 'flip'>): PairBatches {
  const side = (at: 0 | 1) => batches(records.map((record) => ({ ...record, image: record.images[at] })), options);
  const [left, right] = [side(0), side(1)];
  return { count: left.count, [Symbol.asyncIterator]: () => zipped(left, right) };
}

async function* zipped(left: AsyncIterable<VqaExamples>, right: AsyncIterable<VqaExamples>): AsyncGenerator<PairExamples> {
  const others = right[Symbol.asyncIterator]();
  try {
    for await (const one of left) {
      const other = await others.next();
      if (other.done) throw new DataError('pair batches: fewer batches of right images than of left ones');
      yield { ids: one.ids, left: one, right: other.value };
    }
  } finally {
    await others.return?.();
  }
}
