/** What BertNormalizer does to a text; `stripAccents` follows `lowercase` unless it is said. */
export interface BertTextOptions {
  readonly clean: boolean;
  readonly spaceChinese: boolean;
  readonly lowercase: boolean;
  readonly stripAccents: boolean;
}

// Blocks of CJK ideographs as BERT lists them; kana and hangul are words like any other. U+2B820 to U+2B91F are left out by the reference.
const CHINESE = /[\u3400-\u4DBF\u4E00-\u9FFF\uF900-\uFAFF\u{20000}-\u{2A6DF}\u{2A700}-\u{2B73F}\u{2B740}-\u{2B81F}\u{2B920}-\u{2CEAF}\u{2F800}-\u{2FA1F}]/gu;
const SPACE = /\p{White_Space}/gu;
const DROPPED = /[\0\uFFFD\p{Cf}\p{Co}\p{Cs}]|(?![\t\n\r])\p{Cc}/gu;

/**
 * A text as BERT reads it: control and format characters dropped, every kind of space a space, ideographs set apart, then
 * NFD without nonspacing marks, then lower case character by character (a final sigma stays what it is as a capital: σ).
 * Equal to Hugging Face's BertNormalizer for every single character but 671, nearly all added to Unicode after version 8: the
 * two look in tables of different age.
 */
export function bertText(text: string, { clean, spaceChinese, lowercase, stripAccents }: BertTextOptions): string {
  let result = text;
  if (clean) result = result.replace(DROPPED, '').replace(SPACE, ' ');
  if (spaceChinese) result = result.replace(CHINESE, ' $& ');
  if (stripAccents) result = result.normalize('NFD').replace(/\p{Mn}/gu, '');
  return lowercase ? Array.from(result, (character) => character.toLowerCase()).join('') : result;
}
