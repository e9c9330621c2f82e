import { DataError } from './errors.ts';

/**
 * The two orders in which the 3,129 answers of VQA v2 are in use. `lxmert`: the empty string first, then as the authors'
 * list has them. `pythia` (VL-BERT, VisualBERT): `<unk>` first, then the same others by code point.
 */
export type AnswerOrder = 'lxmert' | 'pythia';

const UNKNOWN = '<unk>';

/** A list in LXMERT's order in Pythia's. Joined by line feeds, with one at the end, it is `answers_vqa.txt` byte for byte. */
export function pythiaOrder(lxmert: readonly string[]): string[] {
  if (lxmert[0] !== '') throw new DataError(`answers: the first one is '${lxmert[0] ?? ''}', expected the empty string of LXMERT's order (trainval_label2ans.json)`);
  return [UNKNOWN, ...lxmert.slice(1).sort(byCodePoint)];
}

/** Which order a list is in; undefined for another list of answers. */
export function answerOrderOf(answers: readonly string[]): AnswerOrder | undefined {
  if (answers[0] === '') return 'lxmert';
  const sorted = answers[0] === UNKNOWN && answers.every((answer, i) => i < 2 || byCodePoint(answers[i - 1]!, answer) < 0);
  return sorted ? 'pythia' : undefined;
}

/**
 * For each answer of `to` its place in `from`, or -1: row i of a head for `to` is row `permutation[i]` of a head for `from`.
 * The empty string and `<unk>` are answers like any other and do not stand for each other. @throws DataError for a list
 * that names an answer twice.
 */
export function permutationBetween(from: readonly string[], to: readonly string[]): number[] {
  placesOf(to);
  const places = placesOf(from);
  return to.map((answer) => places.get(answer) ?? -1);
}

function placesOf(answers: readonly string[]): ReadonlyMap<string, number> {
  const places = new Map(answers.map((answer, place) => [answer, place]));
  const twice = answers.find((answer, place) => places.get(answer) !== place);
  if (twice !== undefined) throw new DataError(`answers: '${twice}' stands there twice, so no row of a head is its own`);
  return places;
}

/** By code point, where JavaScript's own order is by UTF-16 unit. */
function byCodePoint(a: string, b: string): number {
  const [left, right] = [Array.from(a, codePoint), Array.from(b, codePoint)];
  for (let i = 0; i < Math.min(left.length, right.length); i++) if (left[i] !== right[i]) return left[i]! - right[i]!;
  return left.length - right.length;
}

const codePoint = (character: string) => character.codePointAt(0)!;
