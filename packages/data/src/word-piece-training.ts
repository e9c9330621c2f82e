import { DataError } from './errors.ts';
import { bertWords, specialTokens } from './tokenizer.ts';

export interface WordPieceTraining {
  readonly size: number; // pieces at most
  /** Characters that get a piece even where no text has them; default letters a-z and digits. */
  readonly alphabet?: string;
}

/** The share of the room left to word pieces when not all words fit. */
const PIECE_SHARE = 0.25;

/**
 * Makes a vocabulary as vocab.txt text: [PAD] [UNK] [CLS] [SEP] [MASK], each character as a word's beginning and as `##`
 * continuation, whole words by frequency, then beginnings and `##` pieces by (frequency x letters) that at least two
 * words share. Every word made of known characters has an encoding without [UNK]. Equal texts in any order give equal
 * bytes. @throws DataError when `size` is too small for the characters.
 */
export function trainWordPiece(texts: Iterable<string>, { size, alphabet = 'abcdefghijklmnopqrstuvwxyz0123456789' }: WordPieceTraining): string {
  const words = countWords(texts);
  const letters = [...new Set([...alphabet, ...[...words.keys()].flatMap((word) => [...word])])].sort(byCodePoint);
  const vocabulary = new Set<string>([...Object.values(specialTokens), ...letters, ...letters.map((letter) => `##${letter}`)]);
  if (vocabulary.size > size) throw new DataError(`a vocabulary of ${size} is too small: special tokens and ${letters.length} characters need ${vocabulary.size}. Ask for more, or give a smaller alphabet.`);
  const whole = byWeight(words).filter((word) => !vocabulary.has(word));
  const room = size - vocabulary.size;
  const fitting = whole.length <= room ? whole.length : Math.ceil(room * (1 - PIECE_SHARE));
  for (const word of whole.slice(0, fitting)) vocabulary.add(word);
  for (const piece of byWeight(sharedPieces(words))) {
    if (vocabulary.size >= size) break;
    vocabulary.add(piece);
  }
  return `${[...vocabulary].join('\n')}\n`;
}

function countWords(texts: Iterable<string>): Map<string, number> {
  const split = bertWords();
  const counts = new Map<string, number>();
  for (const text of texts) for (const word of split(text)) counts.set(word, (counts.get(word) ?? 0) + 1);
  return counts;
}

/** Beginnings and inner parts of two letters or more, weighed by frequency x letters, of at least two words. */
function sharedPieces(words: ReadonlyMap<string, number>): Map<string, number> {
  const weights = new Map<string, { weight: number; words: number }>();
  for (const [word, count] of words) {
    const characters = [...word];
    const seen = new Set<string>();
    for (let from = 0; from < characters.length; from++)
      for (let to = from + 2; to <= characters.length; to++) {
        const piece = (from ? '##' : '') + characters.slice(from, to).join('');
        if (seen.has(piece)) continue;
        seen.add(piece);
        const entry = weights.get(piece) ?? { weight: 0, words: 0 };
        weights.set(piece, { weight: entry.weight + count * (to - from), words: entry.words + 1 });
      }
  }
  return new Map([...weights].filter(([, entry]) => entry.words > 1).map(([piece, { weight }]) => [piece, weight]));
}

/** Heaviest first, equal ones by code point. */
function byWeight(weights: ReadonlyMap<string, number>): string[] {
  return [...weights].sort(([a, m], [b, n]) => n - m || byCodePoint(a, b)).map(([key]) => key);
}

const byCodePoint = (a: string, b: string) => (a < b ? -1 : a > b ? 1 : 0);
