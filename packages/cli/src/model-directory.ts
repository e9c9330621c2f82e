import { existsSync } from 'node:fs';
import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { CheckpointError, load, readManifest, save, type Adapted, type Manifest, type SaveOptions } from '@espalier/core';
import { SHARDING, wordPiece, type WordPiece } from '@espalier/data';
import { findModel, vocabularyIn, type FoundModel } from '@espalier/pretrained';
import { fileStore, writeWhole } from '@espalier/train';
import { backbone, disposeModel, type Backbone, type VqaModel } from '@espalier/vl-models';
import { z } from 'zod';
import { buildBackbone } from './backbone-model.ts';
import { filesOf, type FindOptions } from './backbone-weights.ts';
import type { Composition } from './compose.ts';
import { reasonOf } from './errors.ts';
import { requireOneImage } from './one-image.ts';
import { compositionRoot, restorerOf, type Container } from './plugins.ts';

const Task = z.strictObject({
  kind: z.literal('vqa'),
  answers: z.array(z.string()).min(1), // in the order of logits
  data: z.string(), // trained on, with absolute paths
  dataSeed: z.int(),
  features: z.string(), // what made regions of images
  seed: z.int(), // of samples
  limitEval: z.int().positive().optional(),
  batchSize: z.int().positive(), // questions padded together when scoring
  shard: z.strictObject({ index: z.int().nonnegative(), of: z.int().positive(), by: z.enum(SHARDING), seed: z.int(), samples: z.int().nonnegative() }).optional(), // of the training split it was trained on
  privacy: z.record(z.string(), z.unknown()).optional(), // what is promised of the samples it was trained on
  head: z.enum(['stored', 'stored-or-drawn', 'drawn']).optional(), // where the backbone's own answer head is from; default stored-or-drawn
});
/** What a manifest says of the task a model was trained on. */
export type VqaTask = z.infer<typeof Task>;

/** A trained model, ready to answer. */
export interface OpenedModel {
  readonly directory: string;
  readonly manifest: Manifest;
  readonly task: VqaTask;
  readonly kind: Backbone;
  readonly model: VqaModel<unknown>;
  readonly tokens: WordPiece;
  readonly vocabulary: string; // text of the vocabulary file
  readonly adapted: Adapted<unknown>;
  dispose(): void;
}

export interface OpenModelOptions extends FindOptions {
  readonly weights?: string | undefined; // where the backbone's weights are now, 'none' for those of the seed; default where the manifest says
  readonly container?: Container; // knows plugins that are no packages
}

/**
 * Opens what a training saved: the backbone from the manifest, then its plugins, strictly. A backend must be in force
 * (`selectBackend`). @throws CheckpointError naming file, tensor or plugin that does not fit.
 */
export async function openModel(directory: string, { weights, container = compositionRoot(), ...options }: OpenModelOptions = {}): Promise<OpenedModel> {
  const store = fileStore(directory);
  if (!existsSync(join(directory, 'manifest.json')) && existsSync(join(directory, 'checkpoints')))
    throw new CheckpointError(`${directory} holds an unfinished training and no model yet. Finish it: espalier train --out ${directory} --resume, with the options it was begun with.`);
  const manifest = await inDirectory(directory, () => readManifest(store));
  const parsed = Task.safeParse(manifest.task);
  if (!parsed.success) throw new CheckpointError(`${directory}/manifest.json: task: ${parsed.error.issues.map((i) => `${i.path.join('.')}: ${i.message}`).join('; ')}. Was this model saved by espalier train?`);
  const vocabulary = await vocabularyIn(directory);
  if (!vocabulary) throw new CheckpointError(`${directory}: vocab.txt (or tokenizer.json) is missing. A model directory holds manifest.json, its plugins' files and the vocabulary, all as train wrote them.`);
  const kind = backbone(manifest.base.model);
  const config = z.record(z.string(), z.unknown()).parse(manifest.base.config);
  requireOneImage(config, directory);
  const { init, weights: file } = await weightsOfModel({ directory, recorded: manifest.base.weights, given: weights, kind, config }, options);
  const { model } = await buildBackbone({ init, weights: file, kind, config, seed: manifest.seed, head: parsed.data.head, signal: options.signal });
  try {
    const adapted = await inDirectory(directory, () => load(model, store, { resolve: restorerOf(container) }));
    return {
      directory, manifest, task: parsed.data, kind, model, adapted,
      tokens: wordPiece(vocabulary.text, vocabulary.file), vocabulary: vocabulary.text,
      dispose: () => {
        adapted.dispose();
        disposeModel(model.scope);
      },
    };
  } catch (e) {
    disposeModel(model.scope);
    throw e;
  }
}

/** What `save` is told of a composition. */
export const saveOptionsOf = (c: Composition, settings: Pick<VqaTask, 'dataSeed' | 'seed' | 'batchSize'> & { readonly limitEval?: number | undefined; readonly head?: VqaTask['head'] }, fingerprint: string, privacy?: VqaTask['privacy']) => {
  const { dataSeed, seed, batchSize, limitEval, head } = settings;
  const task: VqaTask = {
    kind: 'vqa', answers: [...c.data.answers], data: c.dataSpec, dataSeed, features: c.features, seed, batchSize,
    ...(limitEval !== undefined && { limitEval }), ...(head !== undefined && { head }),
    ...(c.shard && { shard: { ...c.shard, samples: c.train.length } }),
    ...(privacy && { privacy }),
  };
  return { config: c.model.config, task, fingerprint, packages: c.packages, ...(c.weights !== undefined && { weights: c.weights }) };
};

/** Writes the vocabulary, then the model; gives the bytes that they take. */
export async function saveModel(directory: string, c: Composition, options: SaveOptions): Promise<number> {
  const vocabulary = c.vocabulary.trimStart().startsWith('{') ? 'tokenizer.json' : 'vocab.txt';
  await writeWhole(join(directory, vocabulary), new TextEncoder().encode(c.vocabulary));
  const { plugins } = await save(c.adapted, fileStore(directory), options);
  const sizes = await Promise.all(['manifest.json', vocabulary, ...plugins.map((p) => p.file)].map((name) => stat(join(directory, name))));
  return sizes.reduce((sum, { size }) => sum + size, 0);
}

interface Wanted {
  readonly directory: string; // of the model
  readonly recorded: string | undefined; // by its manifest
  readonly given: string | undefined; // where they are now
  readonly kind: Backbone;
  readonly config: Readonly<Record<string, unknown>>; // of the manifest
}

/** The backbone's file of weights; none where the model was trained without, or 'none' is asked for. */
async function weightsOfModel({ directory, recorded, given, kind, config }: Wanted, options: FindOptions): Promise<Pick<FoundModel, 'init' | 'weights'>> {
  const at = given ?? recorded;
  if (at === undefined || at === 'none') return { init: 'own', weights: undefined };
  const unread = (reason: string) =>
    new CheckpointError(given === undefined ? `${directory} was trained on the weights '${at}', which cannot be read: ${reason}\nWhere they have moved, say so with --weights DIR.` : `--weights ${at} cannot be read: ${reason}`);
  let found: FoundModel;
  try {
    const { files } = await filesOf(at, { ...options, recorded: given === undefined });
    found = await findModel(files, { backbone: kind.name, config });
  } catch (e) {
    throw options.signal?.aborted ? e : unread(reasonOf(e));
  }
  if (found.weights === undefined) throw unread('it holds no weights. A model that was trained without weights opens with --weights none.');
  return found;
}

/** Core's checkpoint errors speak of files by name alone: puts the directory before them. */
async function inDirectory<T>(directory: string, read: () => Promise<T>): Promise<T> {
  try {
    return await read();
  } catch (e) {
    throw e instanceof CheckpointError ? new CheckpointError(`${directory}: ${e.message}`, { cause: e }) : e;
  }
}
