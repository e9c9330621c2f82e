import { EspalierError } from '@espalier/core';

/** What the library calls by its options, and the command line by flags and variables. */
const WORDS: readonly (readonly [from: string | RegExp, to: string])[] = [
  [/^fetch(Pretrained|Repository): /, ''],
  ['localFilesOnly', '--offline'],
  ['cacheDir for another cache', 'HF_HUB_CACHE for another cache'],
  ['HF_TOKEN or accessToken', 'HF_TOKEN'],
  ["option 'hubUrl' or HF_ENDPOINT", 'HF_ENDPOINT'],
  ["option 'accessToken' or HF_TOKEN", 'HF_TOKEN'],
  ["options 'backbone' and 'size':", '--backbone and --size:'],
  ["option 'backbone'", '--backbone'],
];

/** An error of the library in the words of the command line, with what is to stand before it; anything else as it is. */
export function inFlags(thrown: unknown, before = ''): unknown {
  if (!(thrown instanceof EspalierError)) return thrown;
  return new EspalierError(before + WORDS.reduce((text, [from, to]) => text.replaceAll(typeof from === 'string' ? from : new RegExp(from, 'g'), to), thrown.message), { cause: thrown });
}
