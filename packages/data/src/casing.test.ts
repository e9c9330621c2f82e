import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { parseJson } from './json.ts';
import { tokenizerJson, wordPiece } from './tokenizer.ts';

const Options = z.strictObject({ do_lower_case: z.boolean().optional(), strip_accents: z.boolean().optional(), tokenize_chinese_chars: z.boolean().optional() });
const Cases = z.object({ pieces: z.array(z.string()), cases: z.array(z.object({ options: Options, ids: z.array(z.array(z.int())) })) });

// made by reference/tokenizer/cased.py with Hugging Face's BertTokenizer
const folder = new URL('../fixtures/tokenizer/', import.meta.url);
const read = (name: string) => readFileSync(new URL(name, folder), 'utf8');
const { pieces, cases } = parseJson(read('cased.json'), Cases, 'cased.json');
const { texts } = parseJson(read('cases.json'), z.object({ texts: z.array(z.object({ text: z.string() })) }), 'cases.json');
const vocabulary = `${pieces.join('\n')}\n`;

describe('casing', () => {
  it.each(cases)('$options has the ids of the reference, from a vocab.txt and from the tokenizer.json made of it', ({ options, ids }) => {
    const casing = { lowercase: options.do_lower_case, stripAccents: options.strip_accents, spaceChinese: options.tokenize_chinese_chars };
    const [text, json] = [wordPiece(vocabulary, 'vocab.txt', casing), wordPiece(tokenizerJson(vocabulary, 'vocab.txt', casing), 'tokenizer.json')];
    texts.forEach(({ text: question }, i) => {
      expect(text.encode(question), JSON.stringify(question)).toEqual(ids[i]);
      expect(json.encode(question), JSON.stringify(question)).toEqual(ids[i]);
    });
  });

  it("is that of a tokenizer.json as the reference saves it, whatever is asked for", () => {
    const saved = wordPiece(read('cased.tokenizer.json'), 'tokenizer.json', { lowercase: true });
    const { ids } = cases.find(({ options }) => JSON.stringify(options) === '{"do_lower_case":false}')!;
    texts.forEach(({ text }, i) => expect(saved.encode(text), JSON.stringify(text)).toEqual(ids[i]));
    expect(saved.pieces).toEqual(pieces);
  });
});
