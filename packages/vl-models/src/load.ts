import * as tf from '@tensorflow/tfjs';
import type { Checkpoint } from '@espalier/checkpoints';
import { adopt, CheckpointError, didYouMean, random } from '@espalier/core';
import type { KeyOf } from './keys.ts';
import { isBert, match, type Match } from './match.ts';
import { asStored, chosenRows, meansOfWords, scratch, topRows, type Recipe } from './recipe.ts';
import type { Backbone, VqaModel } from './vqa-model.ts';
import { initialValues } from './weights.ts';

/** What became of a checkpoint's arrays. */
export interface LoadReport {
  readonly loaded: readonly string[]; // stored names
  readonly drawn: readonly string[]; // tensor paths of arrays that are the seed's
  readonly missing: readonly string[]; // what the file lacks, under the names it should have
  readonly unexpected: readonly string[]; // stored names that nobody knows
  readonly dropped: readonly string[]; // stored names without use in a model with an answer head, such as those of pre-training heads
  readonly notFinite: readonly string[]; // tensor paths of arrays that hold NaN or infinities
}

/** The answer layer by rows of the stored one (-1: zeros), or by the word pieces of each answer. */
export type AnswerLayer = { readonly rows: ArrayLike<number> } | { readonly pieces: readonly (readonly number[])[] };

export interface LoadOptions {
  /** `own`: a checkpoint of this kind of model; `bert`: a BERT's, which gives words and encoder while the rest is drawn. Default own. */
  readonly init?: 'own' | 'bert';
  /** `stored`: as in the file; `stored-or-drawn`: drawn where the file lacks it; `drawn`: always drawn. A pooler is no part of it. Default stored. */
  readonly head?: 'stored' | 'stored-or-drawn' | 'drawn';
  /** For answers other than the checkpoint's. */
  readonly answers?: AnswerLayer;
  /** Whether missing and unknown arrays are refused; default true. Otherwise what is missing is drawn. */
  readonly strict?: boolean;
  readonly seed?: number; // of what is drawn; default 0
  readonly signal?: AbortSignal;
  readonly onProgress?: (progress: { readonly read: number; readonly of: number }) => void; // in arrays
}

/**
 * Builds a model from a checkpoint, array by array: besides the model's own arrays about two are in memory at a time. All
 * names and shapes are checked before anything is read; when reading fails, nothing is left behind.
 * @throws CheckpointError naming what is missing, unknown, of another shape or of another type.
 */
export async function loadModel(kind: Backbone, config: unknown, checkpoint: Checkpoint, options: LoadOptions = {}): Promise<{ model: VqaModel<unknown>; report: LoadReport }> {
  const { shapes, keyOf } = wanted(kind, config);
  const found = withoutHead(match(kind, keyOf, shapes.keys(), checkpoint, options.init ?? 'own'), options.head === 'drawn');
  assertComplete(kind, keyOf, checkpoint, found, options);
  const recipes = new Map([...shapes].map(([path, shape]) => [path, recipe(kind, path, shape, checkpoint, found, options)]));

  const made = new Map<string, tf.Tensor>();
  const notFinite: string[] = [];
  try {
    for await (const { path, values } of inTurn(recipes)) {
      options.signal?.throwIfAborted();
      if (!allFinite(values)) notFinite.push(path);
      made.set(path, adopt(values, shapes.get(path)!));
      options.onProgress?.({ read: made.size, of: recipes.size });
    }
    const model = kind.build(config, (path) => made.get(path)!);
    const loaded = [...new Set([...recipes.values()].flatMap(({ keys }) => keys))].sort();
    const drawn = [...recipes].flatMap(([path, { keys }]) => (keys.length ? [] : [path]));
    const { missing, unexpected, dropped } = found;
    return { model, report: { loaded, drawn, missing: missing.map(keyOf), unexpected, dropped, notFinite } };
  } catch (e) {
    tf.dispose([...made.values()]);
    throw e;
  }
}

/** Makes arrays in order; the next one is read while one is worked on. */
async function* inTurn(recipes: ReadonlyMap<string, Recipe>): AsyncGenerator<{ path: string; values: Float32Array }> {
  const memories = [scratch(), scratch()] as const;
  const waiting: Promise<{ path: string; values: Float32Array }>[] = [];
  const next = () => waiting.shift()!;
  try {
    let turn: 0 | 1 = 0;
    for (const [path, { make }] of recipes) {
      const begun = make(memories[turn]).then((values) => ({ path, values }));
      begun.catch(() => {}); // heard of where it is awaited
      waiting.push(begun);
      turn = turn === 0 ? 1 : 0;
      if (waiting.length === memories.length) yield await next();
    }
    while (waiting.length) yield await next();
  } finally {
    await Promise.allSettled(waiting); // nothing reads on when the checkpoint is closed
  }
}

/** The arrays a model of this configuration has, without making them. */
function wanted(kind: Backbone, config: unknown): { shapes: ReadonlyMap<string, readonly number[]>; keyOf: KeyOf } {
  const shapes = new Map<string, readonly number[]>();
  const stand = tf.scalar(0);
  try {
    const { keyOf } = kind.build(config, (path, shape) => {
      shapes.set(path, shape);
      return stand;
    });
    return { shapes, keyOf };
  } finally {
    stand.dispose();
  }
}

const isHead = (path: string) => path.startsWith('head.') && !path.startsWith('head.pooler.');

/** Treats the stored head as one without use. */
function withoutHead(found: Match, drawn: boolean): Match {
  if (!drawn) return found;
  const head = [...found.found].filter(([path]) => isHead(path));
  const paths = new Set(head.map(([path]) => path));
  return { ...found, found: new Map([...found.found].filter(([path]) => !paths.has(path))), missing: [...found.missing, ...paths], dropped: [...found.dropped, ...head.map(([, key]) => key)] };
}

/** How an array is made. */
function recipe(kind: Backbone, path: string, shape: readonly number[], checkpoint: Checkpoint, { found }: Match, { init, seed = 0, answers }: LoadOptions): Recipe {
  const draw = () => kind.initializer?.(path)?.(shape, random(seed, 'init', path)) ?? initialValues(path, shape, seed);
  const words = found.get(WORDS.find((p) => found.has(p)) ?? '');
  if (answers && 'pieces' in answers && path.startsWith('head.down.')) {
    if (words === undefined) throw new CheckpointError(`${checkpoint.name} has no word embeddings, of which the answer layer was to be made`);
    return meansOfWords(checkpoint, words, path, shape, answers.pieces);
  }
  const key = found.get(path);
  if (key === undefined) return { keys: [], make: () => Promise.resolve(draw()) };
  if (answers && 'rows' in answers && path.startsWith('head.down.')) return chosenRows(checkpoint, key, path, shape, answers.rows);
  if (init === 'bert' && path.endsWith('.table') && checkpoint.tensors.get(key)!.shape[0] !== shape[0]) return topRows(checkpoint, key, shape, draw);
  return asStored(checkpoint, key, path, shape);
}

const WORDS = ['joint.embed.words.table', 'text.embed.words.table'];

/** Refuses a checkpoint that lacks what the model needs, or has what nobody knows. */
function assertComplete(kind: Backbone, keyOf: KeyOf, { name, tensors }: Checkpoint, { missing, unexpected }: Match, { init, head = 'stored', strict = true, answers }: LoadOptions): void {
  if (init === 'bert') {
    if (!isBert(tensors.keys())) throw new CheckpointError(`${name} is not a BERT: it has no 'bert.embeddings.word_embeddings.weight' and 'bert.encoder.layer.0...', or has more than text`);
    return;
  }
  const drawn = (path: string) => path.startsWith('head.') && (head !== 'stored' || (answers && 'pieces' in answers && path.startsWith('head.down.')));
  const lacking = missing.filter((path) => !drawn(path)).map(keyOf);
  if (!strict || (!lacking.length && !unexpected.length)) return;
  const some = (keys: readonly string[]) => keys.slice(0, 5).map((k) => `'${k}'${unexpected.length < 200 ? didYouMean(k, unexpected) : ''}`).join(', ') + (keys.length > 5 ? `, and ${keys.length - 5} more` : '');
  const parts = [
    ...(lacking.length ? [`${name} lacks ${lacking.length} arrays of a ${kind.name}: ${some(lacking)}.`] : []),
    ...(unexpected.length ? [`${name} has ${unexpected.length} arrays that a ${kind.name} does not know: ${unexpected.slice(0, 5).join(', ')}${unexpected.length > 5 ? ', ...' : ''}.`] : []),
    isBert(tensors.keys()) ? `It is a BERT; a ${kind.name} can be initialised from it when that is asked for.` : 'Check that configuration and weights belong together.',
  ];
  throw new CheckpointError(parts.join(' '));
}

/** Whether there is neither NaN nor an infinity: 0 x is not 0 of those alone. */
function allFinite(values: Float32Array): boolean {
  let [a, b, c, d] = [0, 0, 0, 0];
  const whole = values.length - (values.length % 4);
  for (let i = 0; i < whole; i += 4) {
    a += 0 * values[i]!;
    b += 0 * values[i + 1]!;
    c += 0 * values[i + 2]!;
    d += 0 * values[i + 3]!;
  }
  for (let i = whole; i < values.length; i++) a += 0 * values[i]!;
  return a + b + c + d === 0;
}
