import type { Encoding } from './encoding.ts';
import type { WordPiece } from './tokenizer.ts';

/** The answer is read where [MASK] stands. */
export interface MaskedText extends Encoding {
  readonly answerAt: number;
}

/** `[CLS] q1..qn [SEP] [MASK] [SEP]`, types 0 up to the first [SEP], then 1; never cut. answerAt = n + 2. VL-BERT, arXiv 1908.08530. */
export function vlBertText({ encode, specials }: Pick<WordPiece, 'encode' | 'specials'>, question: string): MaskedText {
  const tokens = encode(question);
  return masked([specials.cls, ...tokens, specials.sep], [specials.mask, specials.sep], 1);
}

/**
 * `[CLS] q1..qn ? [MASK] [SEP]`, types 0; never cut. answerAt = n + 2 = (sum of the mask) - 2. The authors' questions come
 * without their question mark and get it back: a question has one either way. VisualBERT, arXiv 1908.03557.
 */
export function visualBertText({ encode, specials }: Pick<WordPiece, 'encode' | 'specials'>, question: string): MaskedText {
  const tokens = encode(`${question.trim().replace(/[\s?]+$/, '')}?`);
  return masked([specials.cls, ...tokens], [specials.mask, specials.sep], 0);
}

function masked(head: readonly number[], tail: readonly number[], tailType: number): MaskedText {
  const inputIds = [...head, ...tail];
  return { inputIds, tokenTypeIds: [...head.map(() => 0), ...tail.map(() => tailType)], attentionMask: inputIds.map(() => 1), answerAt: head.length };
}
