import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { encodeWith } from './encoding.ts';
import { parseJson } from './json.ts';
import { specialTokens, wordPiece } from './tokenizer.ts';

const Ids = z.array(z.int());
const strategies = { longest_first: 'longestFirst', only_first: 'onlyFirst', only_second: 'onlySecond' } as const;
const Encoded = z.object({ ids: Ids.optional(), types: Ids.optional(), mask: Ids.optional(), error: z.string().optional() });
const Cases = z.object({
  texts: z.array(z.object({ text: z.string(), ids: Ids, named: Ids.optional() })),
  pairs: z.array(Encoded.extend({ text: z.string(), pair: z.string() })),
  truncated: z.array(
    Encoded.extend({ text: z.string(), pair: z.string().optional(), maxLength: z.int(), truncation: z.enum(['longest_first', 'only_first', 'only_second']), padding: z.boolean() }),
  ),
});

// made by reference/tokenizer/generate.py with Hugging Face's BertTokenizer
const folder = new URL('../fixtures/tokenizer/', import.meta.url);
const read = (name: string) => readFileSync(new URL(name, folder), 'utf8');
const cases = parseJson(read('cases.json'), Cases, 'cases.json');
const tokenizer = wordPiece(read('vocab.txt'));

describe('ids of the reference', () => {
  it(`are ours for ${cases.texts.length} awkward texts`, () => {
    expect(cases.texts.length).toBeGreaterThanOrEqual(150);
    for (const { text, ids } of cases.texts) expect(encodeWith(tokenizer, { text }).inputIds, JSON.stringify(text)).toEqual(ids);
  });

  it('differ by default only where a text names a special token', () => {
    const named = cases.texts.filter((c) => c.named);
    expect(named.length).toBeGreaterThan(5);
    for (const { text } of named) expect(Object.values(specialTokens).some((token) => text.includes(token))).toBe(true);
  });

  it.each([...cases.pairs, ...cases.truncated])('%j', (golden) => {
    const { text, pair, ids, types, mask, error } = golden;
    const limits = 'maxLength' in golden ? { maxLength: golden.maxLength, truncation: strategies[golden.truncation], padding: golden.padding } : {};
    const encode = () => encodeWith(tokenizer, { text, ...(pair !== undefined && { pair }), ...limits });
    if (error === undefined) expect(encode()).toEqual({ inputIds: ids, tokenTypeIds: types, attentionMask: mask });
    else expect(encode).toThrow('encoding: truncation');
  });
});

describe('encodeWith', () => {
  it('refuses what no length can satisfy', () => {
    expect(() => encodeWith(tokenizer, { text: 'the dog', padding: true })).toThrow('padding needs maxLength');
    expect(() => encodeWith(tokenizer, { text: 'the dog', maxLength: 1 })).toThrow('maxLength is 1, but 2 special tokens');
    expect(() => encodeWith(tokenizer, { text: 'the', pair: 'dog', maxLength: 2 })).toThrow('at least 3');
    expect(() => encodeWith(tokenizer, { text: 'the red dog', maxLength: 4, truncation: 'onlySecond' })).toThrow("'onlySecond' without a second text");
  });

  it('has equal lists and no filling by default', () => {
    expect(encodeWith(tokenizer, { text: 'the dog' }).attentionMask).toEqual([1, 1, 1, 1]);
  });
});
