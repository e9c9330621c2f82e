import { z } from 'zod';
import { DataError } from './errors.ts';
import { parseJson } from './json.ts';
import { readText } from './json-file.ts';

const Answers = z.union([z.array(z.string()).min(1), z.record(z.string(), z.int().nonnegative())]);

/** File names of a vocabulary of answers, the first that is there counts. */
export const ANSWER_FILES = [/^answers\.json$/, /^answers\.txt$/, /^trainval_label2ans\.json$/, /^trainval_ans2label\.json$/, /^answers_vqa\.txt$/];

/** A JSON list, a JSON map answer -> index without gaps, or text with an answer a line; the order is that of logits. */
export async function readAnswers(file: string, layout = 'A list of answers is a JSON list, a JSON map from answer to index, or a text with an answer a line.'): Promise<readonly string[]> {
  const text = await readText(file, layout);
  const answers = file.endsWith('.txt') ? text.split(/\r?\n/).filter((line, i, all) => line !== '' || i < all.length - 1) : fromJson(text, file);
  const twice = answers.length - new Set(answers).size;
  if (twice) throw new DataError(`${file}: an answer stands there twice: '${answers.find((a, i) => answers.indexOf(a) !== i)}'`);
  return answers;
}

function fromJson(text: string, file: string): readonly string[] {
  const parsed = parseJson(text, Answers, file);
  const places = Array.isArray(parsed) ? parsed.map((answer, index) => [answer, index] as const) : Object.entries(parsed).sort(([, a], [, b]) => a - b);
  places.forEach(([answer, index], i) => {
    if (index !== i) throw new DataError(`${file}: answer '${answer}' has index ${index} where ${i} was expected. Indices run from 0 without gaps, each once.`);
  });
  return places.map(([answer]) => answer);
}
