import { writeAtomically } from './atomic-file.ts';
import { DataError } from './errors.ts';
import type { VqaPrediction } from './vqa-accuracy.ts';

/** The id a data set's own files give a record: what follows the slash, a number where it is one written without zeros in front. */
export function questionIdOf({ id }: { readonly id: string }): number | string {
  const own = id.slice(id.indexOf('/') + 1);
  return /^(?:0|[1-9]\d*)$/.test(own) && Number.isSafeInteger(Number(own)) ? Number(own) : own;
}

/** `vqa`: `[{question_id, answer}]`; `gqa`: `[{questionId, prediction}]`, ids as text; `nlvr2`: a line `identifier,True` each. */
export type SubmissionFormat = 'vqa' | 'gqa' | 'nlvr2';

/**
 * Writes what an evaluation server takes: an answer for every record, each question once, in the order of the records. The
 * file appears whole or not at all. `answers` is by record id; `vqaAccuracy` takes the predictions that are returned.
 * @throws DataError naming the question that has no answer, two records, or is not one of the records.
 */
export async function writeSubmission(file: string, records: readonly { readonly id: string }[], answers: ReadonlyMap<string, string>, format: SubmissionFormat = 'vqa'): Promise<readonly VqaPrediction[]> {
  if (!records.length) throw new DataError(`${file}: no questions to answer`);
  const seen = new Set<number | string>();
  const predictions = records.map((record) => {
    const question_id = questionIdOf(record);
    const answer = answers.get(record.id);
    if (answer === undefined) throw new DataError(`${file}: question ${record.id} has no answer; there are ${answers.size} answers for ${records.length} questions. A submission answers every question of its split.`);
    if (seen.has(question_id)) throw new DataError(`${file}: question ${question_id} stands there twice. A submission is of one split.`);
    if (format === 'nlvr2' && answer !== 'True' && answer !== 'False') throw new DataError(`${file}: the answer to ${record.id} is '${answer}', expected True or False`);
    seen.add(question_id);
    return { question_id, answer };
  });
  if (answers.size > records.length) {
    const known = new Set(records.map(({ id }) => id));
    throw new DataError(`${file}: '${[...answers.keys()].find((id) => !known.has(id))}' is no question of this split`);
  }
  await writeAtomically(file, written(predictions, format));
  return predictions;
}

function written(predictions: readonly VqaPrediction[], format: SubmissionFormat): string {
  if (format === 'nlvr2') return predictions.map(({ question_id, answer }) => `${question_id},${answer}\n`).join('');
  const entries = format === 'vqa' ? predictions : predictions.map(({ question_id, answer }) => ({ questionId: String(question_id), prediction: answer }));
  return `[\n${entries.map((entry) => JSON.stringify(entry)).join(',\n')}\n]\n`;
}
