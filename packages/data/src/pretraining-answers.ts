import { z } from 'zod';
import { readJson } from './json-file.ts';

const CONVERTED: ReadonlyMap<string, string> = new Map([
  ['a man', 'man'], ['the man', 'man'], ['a woman', 'woman'], ['the woman', 'woman'],
  ['one', '1'], ['two', '2'], ['three', '3'], ['four', '4'], ['five', '5'], ['six', '6'], ['seven', '7'], ['eight', '8'], ['nine', '9'], ['ten', '10'],
  ['grey', 'gray'],
]);

/**
 * The name of an answer in LXMERT's pre-training (arXiv 1908.07490): lower case; without one full stop at the end; without 'a ',
 * then 'an ', then 'the ' in front; then one to ten as digits, and grey as gray.
 */
export function convertedAnswer(answer: string): string {
  let text = answer.toLowerCase();
  if (text.endsWith('.')) text = text.slice(0, -1).trim();
  for (const article of ['a ', 'an ', 'the ']) if (text.startsWith(article)) text = text.slice(article.length).trim();
  return CONVERTED.get(text) ?? text;
}

/**
 * For each answer of a task the row of LXMERT's pre-training head that knows it, or -1: the reference starts those rows of
 * weight and bias at zero. `known` is the list of the pre-training, in the order of its rows.
 */
export function rowsFromPretraining(answers: readonly string[], known: readonly string[]): number[] {
  const rows = new Map(known.map((answer, row) => [answer, row]));
  return answers.map((answer) => rows.get(convertedAnswer(answer)) ?? -1);
}

/** The answers of `all_ans.json` = `[{ans, dsets}, ...]`; their place is the row of the head. @throws DataError naming file and entry. */
export async function readPretrainingAnswers(file: string): Promise<string[]> {
  const entries = await readJson(file, z.array(z.object({ ans: z.string() })).min(1), "It is data/lxmert/all_ans.json of LXMERT's repository.");
  return entries.map(({ ans }) => ans);
}
