import { DataError } from './errors.ts';
import type { Nlvr2Record } from './nlvr2.ts';

export interface Nlvr2Accuracy {
  readonly accuracy: number; // share of the records that are right
  readonly consistency: number; // share of the sentences that are right about all their pairs of images
  readonly sentences: number;
}

/**
 * NLVR2's metrics (arXiv 1811.00491; lil-lab/nlvr, nlvr2/eval/metrics.py). A sentence is an identifier split-set-pair-sentence without its
 * pair. `predictions` is by record id: whether the sentence holds. @throws DataError for a record without label or prediction.
 */
export function nlvr2Accuracy(records: readonly Nlvr2Record[], predictions: ReadonlyMap<string, boolean>): Nlvr2Accuracy {
  if (!records.length) throw new DataError('NLVR2 accuracy: there are no records');
  const sentences = new Map<string, boolean>();
  let right = 0;
  for (const { id, scores } of records) {
    const prediction = predictions.get(id);
    const label = scores[0]?.[0];
    if (prediction === undefined) throw new DataError(`NLVR2 accuracy: record ${id} has no prediction; there are ${predictions.size} for ${records.length} records`);
    if (label === undefined) throw new DataError(`NLVR2 accuracy: record ${id} has no label`);
    const correct = prediction === (label === 1);
    if (correct) right++;
    const [split, set, , number] = id.slice(id.indexOf('/') + 1).split('-');
    const sentence = `${split}-${set}--${number}`;
    sentences.set(sentence, correct && (sentences.get(sentence) ?? true));
  }
  return { accuracy: right / records.length, consistency: [...sentences.values()].filter((all) => all).length / sentences.size, sentences: sentences.size };
}
