import { didYouMean } from '@espalier/core';
import { Tokenizer } from '@huggingface/tokenizers';
import { z } from 'zod';
import { bertText } from './bert-text.ts';
import { DataError, reasonOf } from './errors.ts';
import { parseJson } from './json.ts';

export const specialTokens = { pad: '[PAD]', unknown: '[UNK]', cls: '[CLS]', sep: '[SEP]', mask: '[MASK]' } as const;

/** WordPiece as BERT uses it: split at space and punctuation, longest piece first; uncased ones lower-case and strip accents before. */
export interface WordPiece {
  /** Ids without special tokens. */
  encode(text: string): number[];
  /** The text of ids, pieces joined to words, special tokens left out. */
  decode(ids: readonly number[]): string;
  readonly size: number; // of the vocabulary
  readonly pieces: readonly string[]; // by id
  readonly specials: Readonly<Record<keyof typeof specialTokens, number>>;
}

/** The part of the library's Tokenizer that is used; its own types do not resolve under Node's module rules. */
interface HuggingFaceTokenizer {
  readonly pre_tokenizer: { pre_tokenize(text: string): string[] } | null;
  encode(text: string, options: { add_special_tokens: boolean }): { ids: number[] };
  decode(ids: number[]): string;
}

const Part = z.looseObject({ type: z.string() }).nullable().default(null);
const BertNormalizer = z.looseObject({
  type: z.literal('BertNormalizer'),
  clean_text: z.boolean().default(true),
  handle_chinese_chars: z.boolean().default(true),
  lowercase: z.boolean().default(true),
  strip_accents: z.boolean().nullable().default(null),
});
const TokenizerJson = z.looseObject({
  normalizer: Part,
  pre_tokenizer: Part,
  post_processor: Part,
  decoder: Part,
  added_tokens: z.array(z.looseObject({ content: z.string(), special: z.boolean().default(false) })).default([]),
  model: z.looseObject({
    type: z.literal('WordPiece'),
    vocab: z.record(z.string(), z.int().nonnegative()),
    unk_token: z.string().default(specialTokens.unknown),
    continuing_subword_prefix: z.string().default('##'),
    max_input_chars_per_word: z.int().default(100),
  }),
});
type TokenizerJson = z.output<typeof TokenizerJson>;

/** How a text is changed before it is split: what Hugging Face's BertTokenizer calls do_lower_case, strip_accents and tokenize_chinese_chars. */
export interface Casing {
  readonly lowercase?: boolean | undefined; // default true
  readonly stripAccents?: boolean | null | undefined; // null, the default: as `lowercase`
  readonly spaceChinese?: boolean | undefined; // every ideograph a word of its own; default true
}

/**
 * A tokenizer from the text of a `vocab.txt` (a piece a line, its id the line's number from 0) or of a `tokenizer.json`
 * whose model is WordPiece. The former says nothing of `casing`, the latter all. Ids are those of Hugging Face's BertTokenizer with `split_special_tokens`: the name of a
 * special token in a text is plain text ('[MASK]' is '[', 'mask', ']'), so that no question can place a token.
 * @throws DataError when a special token is missing, [PAD] is not 0 (batches pad with 0), or a piece stands there twice.
 */
export function wordPiece(text: string, file = 'vocabulary', casing: Casing = {}): WordPiece {
  const json = text.trimStart().startsWith('{') ? parseJson(text, TokenizerJson, file) : fromVocabulary(text, file, casing);
  const pieces: string[] = [];
  for (const [piece, id] of Object.entries(json.model.vocab)) pieces[id] = piece;
  if (pieces.length !== Object.keys(json.model.vocab).length) throw new DataError(`${file}: the ids of its pieces have gaps or repeat`);
  const id = (token: string) => {
    const found = pieces.indexOf(token);
    if (found < 0) throw new DataError(`${file}: the special token ${token} is missing.${didYouMean(token, pieces.filter((p) => p.startsWith('[')))} Needed are ${Object.values(specialTokens).join(' ')}.`);
    return found;
  };
  const specials = { pad: id(specialTokens.pad), unknown: id(specialTokens.unknown), cls: id(specialTokens.cls), sep: id(specialTokens.sep), mask: id(specialTokens.mask) };
  if (specials.pad !== 0) throw new DataError(`${file}: [PAD] has id ${specials.pad}, expected 0 (the first line), which batches pad with`);
  const { normalize, tokenizer } = build(json, file);
  const special = new Set(Object.values(specials));
  return {
    encode: (question) => tokenizer.encode(normalize(question), { add_special_tokens: false }).ids,
    decode: (ids) => {
      const words = ids.filter((i) => i === specials.unknown || !special.has(i));
      return words.length ? tokenizer.decode(words) : '';
    },
    size: pieces.length,
    pieces,
    specials,
  };
}

/** The text of a tokenizer.json that has the pieces of a `vocab.txt` and says how texts are changed. @throws DataError as `wordPiece`. */
export const tokenizerJson = (vocabulary: string, file = 'vocabulary', casing: Casing = {}): string => `${JSON.stringify(fromVocabulary(vocabulary, file, casing))}\n`;

/** The words and punctuation marks of a text, lower case, as WordPiece sees them. */
export function bertWords(): (text: string) => string[] {
  const { normalize, tokenizer } = build(fromVocabulary(Object.values(specialTokens).join('\n'), 'special tokens'), 'special tokens');
  return (text) => tokenizer.pre_tokenizer?.pre_tokenize(normalize(text)) ?? [];
}

/** The library's BertNormalizer overlooks ideographs beyond U+FFFF and makes a final capital sigma ς; `bertText` stands in for it. */
function build(json: TokenizerJson, file: string): { normalize: (text: string) => string; tokenizer: HuggingFaceTokenizer } {
  const bert = BertNormalizer.safeParse(json.normalizer).data;
  const normalize = (text: string) =>
    bert ? bertText(text, { clean: bert.clean_text, spaceChinese: bert.handle_chinese_chars, lowercase: bert.lowercase, stripAccents: bert.strip_accents ?? bert.lowercase }) : text;
  try {
    const tokenizer = new Tokenizer({ ...json, ...(bert && { normalizer: null }), added_tokens: json.added_tokens.filter((token) => !token.special) }, {});
    return { normalize, tokenizer };
  } catch (e) {
    throw new DataError(`${file}: ${reasonOf(e)}`);
  }
}

function fromVocabulary(text: string, file: string, { lowercase = true, stripAccents = null, spaceChinese = true }: Casing = {}): TokenizerJson {
  const lines = text.split(/\r?\n/);
  if (lines.at(-1) === '') lines.pop();
  const vocab: Record<string, number> = {};
  lines.forEach((piece, id) => {
    if (piece === '') throw new DataError(`${file}, line ${id + 1}: the line is empty`);
    if (Object.hasOwn(vocab, piece)) throw new DataError(`${file}, line ${id + 1}: '${piece}' stands in line ${vocab[piece]! + 1} already`);
    vocab[piece] = id;
  });
  return TokenizerJson.parse({
    version: '1.0',
    added_tokens: Object.values(specialTokens).flatMap((content) => (vocab[content] === undefined ? [] : [{ id: vocab[content], content, single_word: false, lstrip: false, rstrip: false, normalized: false, special: true }])),
    normalizer: { type: 'BertNormalizer', clean_text: true, handle_chinese_chars: spaceChinese, strip_accents: stripAccents, lowercase },
    pre_tokenizer: { type: 'BertPreTokenizer' },
    model: { type: 'WordPiece', vocab },
    decoder: { type: 'WordPiece', prefix: '##', cleanup: true },
  });
}
