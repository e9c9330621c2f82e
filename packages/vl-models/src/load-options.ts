import { explainIssues, OptionsError } from '@espalier/core';
import { z } from 'zod';

/** The answer layer by rows of the stored one (-1: zeros), or by the word pieces of each answer. */
export type AnswerLayer = { readonly rows: ArrayLike<number> } | { readonly pieces: readonly (readonly number[])[] };

export interface LoadOptions {
  /** `own`: a checkpoint of this kind of model; `bert`: a BERT's, which gives words and encoder while the rest is drawn. Default own. */
  readonly init?: 'own' | 'bert';
  /**
   * `stored`: as in the file; `stored-or-drawn`: drawn where the file has none, and refused where it has a part of one;
   * `drawn`: always drawn. A pooler is no part of it. Default stored.
   */
  readonly head?: 'stored' | 'stored-or-drawn' | 'drawn';
  /** For answers other than the checkpoint's. */
  readonly answers?: AnswerLayer;
  /** Whether missing and unknown arrays are refused; default true. Otherwise what is missing is drawn. */
  readonly strict?: boolean;
  readonly seed?: number; // of what is drawn; default 0
  readonly signal?: AbortSignal;
  readonly onProgress?: (progress: { readonly read: number; readonly of: number }) => void; // in arrays
}

const list = (x: unknown): x is ArrayLike<number> => Array.isArray(x) || (ArrayBuffer.isView(x) && !(x instanceof DataView));
const Options = z.strictObject({
  init: z.enum(['own', 'bert']).default('own'),
  head: z.enum(['stored', 'stored-or-drawn', 'drawn']).default('stored'),
  answers: z.union([
    z.strictObject({ rows: z.custom<ArrayLike<number>>(list, 'expected a list of rows') }),
    z.strictObject({ pieces: z.array(z.array(z.int()).readonly()).readonly() }),
  ]).optional(),
  strict: z.boolean().default(true),
  seed: z.int().default(0),
  signal: z.instanceof(AbortSignal).optional(),
  onProgress: z.custom<NonNullable<LoadOptions['onProgress']>>((f) => typeof f === 'function', 'expected a function').optional(),
});
/** Options that are whole. */
export type LoadSettings = z.output<typeof Options>;

/** @throws OptionsError for unknown options, with the nearest names, for wrong values, and for those that contradict each other. */
export function loadSettings(given: LoadOptions): LoadSettings {
  const parsed = Options.safeParse(given);
  if (!parsed.success) throw new OptionsError(explainIssues('loadModel', Options, parsed.error));
  const { head, answers, init } = parsed.data;
  if (answers && head === 'drawn') throw new OptionsError("'loadModel' options 'answers' and head: 'drawn' contradict each other: leave one of them out");
  if (answers && 'rows' in answers && init === 'bert') throw new OptionsError("'loadModel' option 'answers.rows' chooses rows of a stored answer layer, which a BERT has not: use 'answers.pieces', or leave it out");
  return parsed.data;
}
