import { DataError } from './errors.ts';
import type { VqaRecord } from './dataset.ts';

/**
 * The mean over records of the score that the record's label gives the predicted answer: GQA's accuracy, where every label
 * is one answer, and the soft accuracy of VQA v2 that LXMERT's and VL-BERT's authors validate with. In [0, 1]. Answers out of
 * the vocabulary score 0 and count. `predictions` is by record id. @throws DataError for a record without prediction.
 */
export function labelAccuracy(records: readonly VqaRecord[], answers: readonly string[], predictions: ReadonlyMap<string, string>): number {
  if (!records.length) throw new DataError('accuracy: there are no records');
  const places = new Map(answers.map((answer, place) => [answer, place]));
  const total = records.reduce((sum, { id, scores }) => {
    const prediction = predictions.get(id);
    if (prediction === undefined) throw new DataError(`accuracy: record ${id} has no prediction; there are ${predictions.size} for ${records.length} records`);
    const place = places.get(prediction);
    return sum + (scores.find(([answer]) => answer === place)?.[1] ?? 0);
  }, 0);
  return total / records.length;
}
