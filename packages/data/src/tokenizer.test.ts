import { describe, expect, it } from 'vitest';
import { specialTokens, wordPiece } from './tokenizer.ts';
import { trainWordPiece } from './word-piece-training.ts';

const vocabulary = `${[...Object.values(specialTokens), 'un', '##aff', '##able', 'cafe', '?', ',', 'the', 'red'].join('\n')}\n`;

describe('wordPiece', () => {
  it('takes the longest piece first, lower-cases, strips accents and splits punctuation', () => {
    const tokenizer = wordPiece(vocabulary);
    expect(tokenizer.encode('Unaffable, Café?').map((id) => tokenizer.pieces[id])).toEqual(['un', '##aff', '##able', ',', 'cafe', '?']);
    expect(tokenizer.encode('')).toEqual([]);
    expect(tokenizer.encode('zebra')).toEqual([tokenizer.specials.unknown]);
  });

  it('has the specials by id, and takes their names in a text for plain text', () => {
    const tokenizer = wordPiece(vocabulary);
    expect(tokenizer.specials).toEqual({ pad: 0, unknown: 1, cls: 2, sep: 3, mask: 4 });
    expect(tokenizer.encode('the [SEP] red')).not.toContain(tokenizer.specials.sep);
    expect(tokenizer.size).toBe(13);
  });

  it('decodes without special tokens', () => {
    const tokenizer = wordPiece(vocabulary);
    expect(tokenizer.decode([2, ...tokenizer.encode('the unaffable red'), 3, 0])).toBe('the unaffable red');
    expect(tokenizer.decode([0])).toBe('');
  });

  it('reads a tokenizer.json alike', () => {
    const vocab = Object.fromEntries(vocabulary.trimEnd().split('\n').map((piece, id) => [piece, id]));
    const json = { version: '1.0', added_tokens: [{ id: 3, content: '[SEP]', special: true }], normalizer: { type: 'BertNormalizer', clean_text: true, handle_chinese_chars: true, strip_accents: null, lowercase: true }, pre_tokenizer: { type: 'BertPreTokenizer' }, model: { type: 'WordPiece', unk_token: '[UNK]', continuing_subword_prefix: '##', max_input_chars_per_word: 100, vocab } };
    const [a, b] = [wordPiece(vocabulary), wordPiece(JSON.stringify(json))];
    for (const text of ['the unaffable red?', '[SEP]', 'Café']) expect(b.encode(text)).toEqual(a.encode(text));
    expect(() => wordPiece('{"model": {"type": "BPE"}}', 'tokenizer.json')).toThrow('tokenizer.json: model.type');
    expect(() => wordPiece('{"model": ', 'tokenizer.json')).toThrow('tokenizer.json, line 1: not JSON');
  });

  it('refuses vocabularies that batches cannot use', () => {
    expect(() => wordPiece('a\n[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]', 'vocab.txt')).toThrow('vocab.txt: [PAD] has id 1, expected 0');
    expect(() => wordPiece('[PAD]\n[UNK]\n[CLS]\n[SEPP]\n[MASK]', 'vocab.txt')).toThrow("vocab.txt: the special token [SEP] is missing. Did you mean '[SEPP]'?");
    expect(() => wordPiece('[PAD]\na\na', 'vocab.txt')).toThrow("vocab.txt, line 3: 'a' stands in line 2 already");
    expect(() => wordPiece('[PAD]\n\na', 'vocab.txt')).toThrow('vocab.txt, line 2: the line is empty');
  });
});

describe('trainWordPiece', () => {
  const texts = ['What color is the triangle?', 'is the triangle red?', 'rectangles and triangles'];

  it('puts specials first, keeps whole words, and gives equal bytes for texts in any order', () => {
    const text = trainWordPiece(texts, { size: 200 });
    expect(text.split('\n').slice(0, 5)).toEqual(Object.values(specialTokens));
    expect(trainWordPiece([...texts].reverse(), { size: 200 })).toBe(text);
    const { encode, pieces, size } = wordPiece(text);
    expect(encode('what color is the triangle?').map((id) => pieces[id])).toEqual(['what', 'color', 'is', 'the', 'triangle', '?']);
    expect(size).toBeLessThanOrEqual(200);
    expect(pieces).toContain('##angle');
  });

  it('encodes every word of known characters without [UNK], however small it is', () => {
    const { encode, decode, specials, size } = wordPiece(trainWordPiece(texts, { size: 90 }));
    expect(size).toBe(90);
    for (const word of ['quiz', 'triangular', '0x7', 'rectangles']) {
      expect(encode(word)).not.toContain(specials.unknown);
      expect(decode(encode(word))).toBe(word);
    }
    expect(encode('ß')).toEqual([specials.unknown]);
  });

  it('leaves a part of the room to pieces when not all words fit', () => {
    const many = Array.from({ length: 300 }, (_, i) => `word${i}`);
    const { pieces } = wordPiece(trainWordPiece(many, { size: 177 }));
    expect(pieces.length).toBe(177);
    expect(pieces.filter((p) => /^word\d+$/.test(p)).length).toBeGreaterThan(60);
    expect(pieces).toContain('word');
  });

  it('refuses a size below the characters', () => {
    expect(() => trainWordPiece(texts, { size: 40 })).toThrow('a vocabulary of 40 is too small');
    expect(wordPiece(trainWordPiece(['ab'], { size: 10, alphabet: '' })).pieces.slice(5)).toEqual(['a', 'b', '##a', '##b', 'ab']);
  });
});
