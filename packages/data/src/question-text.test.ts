import { describe, expect, it } from 'vitest';
import { visualBertText, vlBertText } from './question-text.ts';
import { specialTokens, wordPiece } from './tokenizer.ts';

const tokenizer = wordPiece([...Object.values(specialTokens), 'what', 'color', '?', '[', ']', 'mask'].join('\n'));
const pieces = (ids: readonly number[]) => ids.map((id) => tokenizer.pieces[id]).join(' ');

describe('questions as the authors write them', () => {
  it('VL-BERT: a masked second segment', () => {
    const { inputIds, tokenTypeIds, attentionMask, answerAt } = vlBertText(tokenizer, 'What color?');
    expect(pieces(inputIds)).toBe('[CLS] what color ? [SEP] [MASK] [SEP]');
    expect(tokenTypeIds).toEqual([0, 0, 0, 0, 0, 1, 1]);
    expect(attentionMask).toEqual([1, 1, 1, 1, 1, 1, 1]);
    expect([answerAt, inputIds[answerAt]]).toEqual([5, tokenizer.specials.mask]);
  });

  it('VisualBERT: one question mark, then [MASK]', () => {
    for (const question of ['What color?', 'what color', ' What color ?? ']) {
      const { inputIds, tokenTypeIds, attentionMask, answerAt } = visualBertText(tokenizer, question);
      expect(pieces(inputIds)).toBe('[CLS] what color ? [MASK] [SEP]');
      expect(new Set(tokenTypeIds)).toEqual(new Set([0]));
      expect(answerAt).toBe(attentionMask.length - 2);
    }
  });

  it('a question cannot place a token', () => {
    expect(pieces(vlBertText(tokenizer, '[MASK]').inputIds)).toBe('[CLS] [ mask ] [SEP] [MASK] [SEP]');
  });
});
