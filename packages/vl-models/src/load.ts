import * as tf from '@tensorflow/tfjs';
import type { Checkpoint } from '@espalier/checkpoints';
import { adopt, CheckpointError, random } from '@espalier/core';
import { assertComplete, isHead } from './complete.ts';
import type { KeyOf } from './keys.ts';
import { loadSettings, type LoadOptions, type LoadSettings } from './load-options.ts';
import { match, type Match } from './match.ts';
import { asStored, chosenRows, meansOfWords, scratch, topRows, type Recipe } from './recipe.ts';
import type { Backbone, VqaModel } from './vqa-model.ts';
import { initialValues } from './weights.ts';

/** What became of a checkpoint's arrays. */
export interface LoadReport {
  readonly loaded: readonly string[]; // stored names
  readonly drawn: readonly string[]; // tensor paths of arrays that are the seed's, wholly or in part
  readonly missing: readonly string[]; // what the file lacks, under the names it should have
  readonly unexpected: readonly string[]; // stored names that nobody knows
  readonly dropped: readonly string[]; // stored names without use in a model with an answer head, such as those of pre-training heads
  readonly notFinite: readonly string[]; // tensor paths of arrays that hold NaN or infinities
}

/**
 * Builds a model from a checkpoint, array by array: besides the model's own arrays about two are in memory at a time. All
 * names and shapes are checked before anything is read; when reading fails, nothing is left behind.
 * @throws OptionsError; CheckpointError naming what is missing, unknown, of another shape or of another type.
 */
export async function loadModel(kind: Backbone, config: unknown, checkpoint: Checkpoint, options: LoadOptions = {}): Promise<{ model: VqaModel<unknown>; report: LoadReport }> {
  const settings = ownHead(kind, config, checkpoint, loadSettings(options));
  const { shapes, keyOf } = arraysOf(kind, config);
  const found = withoutHead(match(kind, keyOf, shapes.keys(), checkpoint, settings.init), settings);
  assertComplete(kind, keyOf, checkpoint, found, settings);
  const recipes = new Map([...shapes].map(([path, shape]) => [path, recipe(kind, path, shape, checkpoint, found, settings)]));

  const made = new Map<string, tf.Tensor>();
  const notFinite: string[] = [];
  try {
    for await (const { path, values } of inTurn(recipes)) {
      settings.signal?.throwIfAborted();
      if (!allFinite(values)) notFinite.push(path);
      made.set(path, adopt(values, shapes.get(path)!));
      settings.onProgress?.({ read: made.size, of: recipes.size });
    }
    const model = kind.build(config, (path) => made.get(path)!);
    const loaded = [...new Set([...recipes.values()].flatMap(({ keys }) => keys))].sort();
    const drawn = [...recipes].flatMap(([path, recipe]) => (recipe.drawn ? [path] : []));
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

/** The shapes of the arrays that a model of this configuration has, by tensor path, and their checkpoint keys; makes none of them. */
export function arraysOf(kind: Backbone, config: unknown): { shapes: ReadonlyMap<string, readonly number[]>; keyOf: KeyOf } {
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

/** A head of another task is one without use. @throws CheckpointError when it is asked for. */
function ownHead(kind: Backbone, config: unknown, { name }: Checkpoint, settings: LoadSettings): LoadSettings {
  const other = settings.init === 'own' ? kind.otherHead?.(config) : undefined;
  if (other === undefined) return settings;
  if (settings.head === 'stored' || (settings.answers && 'rows' in settings.answers)) throw new CheckpointError(`${name} is of a ${other}, whose head does not read what that of a ${kind.name} for answers reads: load it with a head that is drawn`);
  return { ...settings, head: 'drawn' };
}

/** Treats a stored head that is not taken as one without use. */
function withoutHead(found: Match, { head, answers }: LoadSettings): Match {
  const unused = (path: string) => isHead(path) && (head === 'drawn' || (answers !== undefined && 'pieces' in answers && path.startsWith('head.down.')));
  const out = [...found.found].filter(([path]) => unused(path));
  if (!out.length) return found;
  return { ...found, found: new Map([...found.found].filter(([path]) => !unused(path))), missing: [...found.missing, ...out.map(([path]) => path)], dropped: [...found.dropped, ...out.map(([, key]) => key)].sort() };
}

/** How an array is made. */
function recipe(kind: Backbone, path: string, shape: readonly number[], checkpoint: Checkpoint, { found }: Match, { init, seed, answers }: LoadSettings): Recipe {
  const draw = () => kind.initializer?.(path)?.(shape, random(seed, 'init', path)) ?? initialValues(path, shape, seed);
  const words = found.get(WORDS.find((p) => found.has(p)) ?? '');
  if (answers && 'pieces' in answers && path.startsWith('head.down.')) {
    if (words === undefined) throw new CheckpointError(`${checkpoint.name} has no word embeddings, of which the answer layer was to be made`);
    return meansOfWords(checkpoint, words, path, shape, answers.pieces);
  }
  const key = found.get(path);
  if (key === undefined) return { keys: [], drawn: true, make: () => Promise.resolve(draw()) };
  if (answers && 'rows' in answers && path.startsWith('head.down.')) return chosenRows(checkpoint, key, path, shape, answers.rows);
  if (init === 'bert' && kind.keys.longerThanBert?.test(path)) return topRows(checkpoint, key, shape, draw);
  return asStored(checkpoint, key, path, shape);
}

const WORDS = ['joint.embed.words.table', 'text.embed.words.table'];

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
