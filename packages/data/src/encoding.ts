import { DataError } from './errors.ts';
import type { WordPiece } from './tokenizer.ts';

/** A text or a pair as BERT takes it; the three lists are of equal length. */
export interface Encoding {
  readonly inputIds: readonly number[];
  readonly tokenTypeIds: readonly number[]; // 1 for the second text and its [SEP], else 0
  readonly attentionMask: readonly number[]; // 0 for padding, else 1
}

export interface EncodingOptions {
  readonly text: string;
  readonly pair?: string;
  /** The most tokens, special ones included; default no limit. */
  readonly maxLength?: number;
  /** Which text gives way when both are too long; default 'longestFirst': the longer one, down to an equal share. */
  readonly truncation?: 'longestFirst' | 'onlyFirst' | 'onlySecond';
  /** Fills up to `maxLength` with 0 on the right; default false. */
  readonly padding?: boolean;
}

/**
 * `[CLS] text [SEP]`, or `[CLS] text [SEP] pair [SEP]`, cut and padded as Hugging Face's BertTokenizer does it. Texts are cut
 * at their ends. @throws DataError when the special tokens alone, or the text that may not be cut, leave no room.
 */
export function encodeWith(tokenizer: Pick<WordPiece, 'encode' | 'specials'>, { text, pair, maxLength, truncation = 'longestFirst', padding = false }: EncodingOptions): Encoding {
  if (padding && maxLength === undefined) throw new DataError('encoding: padding needs maxLength, the length to fill up to');
  const { cls, sep, pad } = tokenizer.specials;
  const first = tokenizer.encode(text);
  const second = pair === undefined ? undefined : tokenizer.encode(pair);
  const [a, b] = kept(first.length, second?.length, maxLength, truncation);
  const head = [cls, ...first.slice(0, a), sep];
  const tail = second ? [...second.slice(0, b), sep] : [];
  const real = head.length + tail.length;
  const filling = padding && maxLength !== undefined ? maxLength - real : 0;
  return {
    inputIds: [...head, ...tail, ...Array<number>(filling).fill(pad)],
    tokenTypeIds: [...head.map(() => 0), ...tail.map(() => 1), ...Array<number>(filling).fill(0)],
    attentionMask: [...Array<number>(real).fill(1), ...Array<number>(filling).fill(0)],
  };
}

/** How many tokens of each text are kept. */
function kept(first: number, second: number | undefined, maxLength: number | undefined, truncation: NonNullable<EncodingOptions['truncation']>): readonly [number, number] {
  const b = second ?? 0;
  const specials = second === undefined ? 2 : 3;
  if (maxLength === undefined) return [first, b];
  const room = maxLength - specials;
  if (!Number.isInteger(maxLength) || room < 0) throw new DataError(`encoding: maxLength is ${maxLength}, but ${specials} special tokens stand in it. Give a whole number of at least ${specials}.`);
  if (room === 0) return [0, 0];
  if (first + b <= room) return [first, b];
  // the reference cuts both to maxLength before it compares them, which tells who gets an odd token
  if (truncation === 'longestFirst') return shared(Math.min(first, maxLength), Math.min(b, maxLength), room);
  if (truncation === 'onlySecond' && second === undefined) throw new DataError("encoding: truncation 'onlySecond' without a second text. Use 'onlyFirst' or 'longestFirst'.");
  const [name, fixed] = truncation === 'onlyFirst' ? ['second', b] : ['first', first];
  if (fixed >= room) throw new DataError(`encoding: truncation '${truncation}' cannot reach ${maxLength} tokens, the ${name} text alone has ${fixed}. Raise maxLength or use 'longestFirst'.`);
  return truncation === 'onlyFirst' ? [room - b, b] : [first, room - first];
}

/** The shorter is kept whole where it fits into half of the room; else each gets half, and the longer the odd token. */
function shared(first: number, second: number, room: number): readonly [number, number] {
  const half = Math.floor(room / 2);
  const short = Math.min(first, second, half);
  return first > second ? [room - short, short] : [short, room - short];
}
