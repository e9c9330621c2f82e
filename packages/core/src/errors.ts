import { distance } from 'fastest-levenshtein';

/** Base of every error Espalier raises on purpose: says who, where, what was found and the remedy. */
export class EspalierError extends Error {
  override name = 'EspalierError';
}

/** Two plugins claim the same place in a way that does not compose. */
export class ConflictError extends EspalierError {
  override name = 'ConflictError';
}

/** A selector that matches no point of the model. */
export class SelectionError extends EspalierError {
  override name = 'SelectionError';
}

/** Options of a plugin that its schema refuses. */
export class OptionsError extends EspalierError {
  override name = 'OptionsError';
}

/** A file or directory of weights that is not what its reader was promised. */
export class CheckpointError extends EspalierError {
  override name = 'CheckpointError';
}

/** An operation that this stack of plugins cannot do, such as merging an input-dependent one. */
export class RefusedError extends EspalierError {
  override name = 'RefusedError';
}

/** The candidates closest to `word` by edit distance, best first; only plausible misspellings. */
export function nearest(word: string, candidates: Iterable<string>, most = 3): string[] {
  return [...new Set(candidates)]
    .map((name) => ({ name, d: distance(word.toLowerCase(), name.toLowerCase()) }))
    .filter(({ name, d }) => d <= Math.max(2, Math.floor(Math.max(word.length, name.length) * 0.4)))
    .sort((a, b) => a.d - b.d || a.name.localeCompare(b.name))
    .slice(0, most)
    .map(({ name }) => name);
}

/** " Did you mean 'a' or 'b'?", or nothing when no candidate is near. */
export function didYouMean(word: string, candidates: Iterable<string>): string {
  const near = nearest(word, candidates);
  return near.length ? ` Did you mean ${near.map((n) => `'${n}'`).join(' or ')}?` : '';
}
