import { contractions } from './vqa-contractions.ts';

/** In the order of the reference, which has neither colon nor apostrophe. */
const PUNCTUATION = [';', '/', '[', ']', '"', '{', '}', '(', ')', '=', '+', '\\', '_', '-', '>', '<', '@', '`', ',', '?', '!'];
const COMMA_IN_NUMBER = /\p{Nd},\p{Nd}/u;
/** `(?!<=\d)` was meant to look behind and looks ahead for '<=', which is never there; kept as it is. */
const PERIOD = /(?!<=\p{Nd})\.(?!\p{Nd})/gu;
/** The reference hands a flag of value 32 to the place of a count. */
const MOST_PERIODS = 32;

const NUMBERS: ReadonlyMap<string, string> = new Map([
  ['none', '0'], ['zero', '0'], ['one', '1'], ['two', '2'], ['three', '3'], ['four', '4'], ['five', '5'],
  ['six', '6'], ['seven', '7'], ['eight', '8'], ['nine', '9'], ['ten', '10'],
]);
const ARTICLES: ReadonlySet<string> = new Set(['a', 'an', 'the']);

// Python's str.split and str.strip count the four information separators as space, and U+FEFF not
const SEPARATORS = '\u001c\u001d\u001e\u001f';
const SPACES = new RegExp(`[\\p{White_Space}${SEPARATORS}]+`, 'u');
const OUTER_SPACES = new RegExp(`^${SPACES.source}|${SPACES.source}$`, 'gu');

/** Line feeds and tabs as spaces, outer space cut: what is done to every answer, whether the annotators agree or not. */
export function trimmedAnswer(answer: string): string {
  return answer.replace(/[\n\t]/g, ' ').replace(OUTER_SPACES, '');
}

/**
 * An answer as the official VQA evaluation compares it: punctuation, then lower case, numbers up to ten as digits, no
 * articles, contractions with their apostrophes. A mark is deleted everywhere when the answer has it beside a space, or has
 * a comma between digits; else it becomes a space. Source: `vqaAccuracy`.
 */
export function processedAnswer(answer: string): string {
  const commaInNumber = COMMA_IN_NUMBER.test(answer);
  let text = answer;
  for (const mark of PUNCTUATION) {
    if (!text.includes(mark)) continue;
    const drop = commaInNumber || answer.includes(`${mark} `) || answer.includes(` ${mark}`);
    text = text.replaceAll(mark, drop ? '' : ' ');
  }
  let periods = 0;
  text = text.replace(PERIOD, (period) => (++periods > MOST_PERIODS ? period : ''));
  return text
    .toLowerCase()
    .split(SPACES)
    .filter((word) => word !== '')
    .map((word) => NUMBERS.get(word) ?? word)
    .filter((word) => !ARTICLES.has(word))
    .map((word) => contractions.get(word) ?? word)
    .join(' ');
}
