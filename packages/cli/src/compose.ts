import { resolve } from 'node:path';
import { adapt, CheckpointError, start, type Adapted, type Plugin } from '@espalier/core';
import { describeFinding, featuriserFrom, limit, openData, shardOf, trainWordPiece, type FeatureDemand, type ShardOptions, type VqaData, type VqaRecord, type WordPiece } from '@espalier/data';
import { withVocabulary } from '@espalier/pretrained';
import { fileStore } from '@espalier/train';
import { disposeModel, type Backbone, type LoadReport, type VqaModel } from '@espalier/vl-models';
import type { z } from 'zod';
import { buildBackbone, demandOf, tokenizerOf } from './backbone-model.ts';
import { findBackbone, type FindOptions, type FoundBackbone } from './backbone-weights.ts';
import { UsageError } from './errors.ts';
import { requireOneImage } from './one-image.ts';
import { headPlugin, resolvePlugins, withHead, type Container } from './plugins.ts';
import type { TrainSettings } from './settings.ts';

/** What a training is made of. */
export interface Composition {
  readonly kind: Backbone;
  readonly model: VqaModel<unknown>;
  readonly weights: string | undefined; // as a manifest records them
  readonly tokens: WordPiece;
  readonly vocabulary: string; // text of the vocabulary file
  readonly data: VqaData;
  readonly dataSpec: string; // with absolute paths
  readonly features: string;
  readonly train: readonly VqaRecord[]; // the shard's, where there is one
  readonly shard: Required<ShardOptions> | undefined;
  readonly validation: readonly VqaRecord[];
  readonly test: readonly VqaRecord[] | undefined; // none: the data set has no answered test questions
  readonly adapted: Adapted<unknown>;
  readonly packages: Readonly<Record<string, string>>;
  readonly notes: readonly string[]; // for the user to read
  dispose(): void;
}

/** Pieces of a vocabulary made from the training questions when the backbone brings none. */
const VOCABULARY = 256;

/** Builds backbone, data and adapted model from a configuration. @throws EspalierError for whatever does not fit together. */
export async function compose(container: Container, settings: z.output<typeof TrainSettings>, options: FindOptions = {}): Promise<Composition> {
  const { plugin, seed, limitTrain, limitEval, head, offline } = settings;
  const { plugins, packages } = await resolvePlugins(container, plugin);
  const found = await findBackbone(settings, { ...options, offline });
  requireOneImage(found.config, found.by);
  const features = settings.features ?? defaultFeatures(settings.data);
  const dataSpec = absoluteSpec(settings.data);
  // A BERT has no projection of regions: the one that is drawn is as wide as they are.
  const fromBert = found.init === 'bert';
  const data = await openTaskData(dataSpec, features, settings.dataSeed, fromBert ? undefined : demandOf(found));
  const { tokens, text: vocabulary } = tokenizerOf(found, () => trainWordPiece(data.splits.train.map((r) => r.question), { size: VOCABULARY }));
  const config = { ...withVocabulary(found, tokens), ...(fromBert && { [found.kind.featureKey]: data.featureSize }) };
  const { model, report } = await buildBackbone({ ...found, config, seed, head, signal: options.signal });
  const sample = (records: readonly VqaRecord[], n: number | undefined) => (n === undefined ? records : limit(records, n, seed));
  const shard = shardFrom(settings);
  const labelled = data.splits.test?.filter((r) => r.answerType !== 'unlabelled');
  const adapted = adaptOrDispose(model, withHead(plugins, data.answers.length), seed);
  const dispose = () => {
    adapted.dispose();
    disposeModel(model.scope);
  };
  const started = await startedFrom(settings.start, adapted, dispose);
  return {
    kind: found.kind, model, weights: found.recorded, tokens, vocabulary, data, dataSpec, features, adapted, packages,
    train: shard ? shardOf(sample(data.splits.train, limitTrain), shard) : sample(data.splits.train, limitTrain),
    shard,
    validation: sample(data.splits.validation, limitEval),
    test: labelled?.length ? sample(labelled, limitEval) : undefined,
    notes: [...weightNotes(found, seed, report), ...started, ...data.report().map(describeFinding)],
    dispose,
  };
}

/** `3/10` as the third of ten shards. @throws UsageError when there are not so many. */
function shardFrom({ shard, shardBy, shardSeed }: Pick<z.output<typeof TrainSettings>, 'shard' | 'shardBy' | 'shardSeed'>): Required<ShardOptions> | undefined {
  if (shard === undefined) return undefined;
  const [number, of] = shard.split('/').map(Number) as [number, number];
  if (number > of) throw new UsageError(`--shard ${shard}: there are ${of} parts, counted from 1`);
  return { index: number - 1, of, by: shardBy, seed: shardSeed };
}

/** Starts plugins with what another run left; says which. */
async function startedFrom(directory: string | undefined, adapted: Adapted<unknown>, dispose: () => void): Promise<string[]> {
  if (directory === undefined) return [];
  const head = headPlugin().instance;
  try {
    const instances = await start(adapted, fileStore(directory), adapted.plugins.map((p) => p.instance).filter((name) => name !== head));
    return [`${instances.join(', ')} begin with the variables in ${directory}`];
  } catch (e) {
    dispose();
    throw e instanceof CheckpointError ? new CheckpointError(`--start ${directory}: ${e.message}`, { cause: e }) : e;
  }
}

/** Puts plugins on a backbone that nothing else uses yet. */
export function adaptOrDispose(model: VqaModel<unknown>, plugins: readonly Plugin[], seed: number): Adapted<unknown> {
  try {
    return adapt(model, plugins, { seed });
  } catch (e) {
    disposeModel(model.scope);
    throw e;
  }
}

/** Opens a data set with regions as a backbone wants them. `features` is 'file' or a featuriser's name with options. */
export const openTaskData = (spec: string, features: string, seed: number, demand: FeatureDemand | undefined): Promise<VqaData> =>
  openData(spec, { featuriser: features === 'file' ? 'file' : featuriserFrom(features), seed, ...(demand && { demand }) });

/** `easy-vqa:DIR`, `vqa2:DIR` and `gqa:DIR` with DIR as an absolute path, so that a saved model finds its data from anywhere. */
export const absoluteSpec = (spec: string): string => spec.replace(/^(easy-vqa|vqa2|gqa):(.+)$/s, (_, kind: string, directory: string) => `${kind}:${resolve(directory)}`);

const defaultFeatures = (spec: string): string => (/^(vqa2|gqa)(:|$)/.test(spec) ? 'file' : 'grid');

/** Says what is not pretrained. */
export function weightNotes({ kind, by, init, weights, recorded }: FoundBackbone, seed: number, report: LoadReport | undefined): string[] {
  if (!report) return [`WARNING: ${by} has no pretrained weights here: all its arrays are drawn from seed ${seed}. What stays frozen has learned nothing. Give --weights DIR for a pretrained ${kind.name}.`];
  const { drawn, notFinite } = report;
  const source = recorded ?? weights;
  return [
    `backbone ${by}, weights ${source}`,
    ...(drawn.length && init === 'own' ? [`${drawn.length} arrays of the answer head are not taken from ${source} but drawn from seed ${seed}`] : []),
    ...(init === 'bert' ? [`${source} is a BERT: ${drawn.length} arrays that it has not are drawn from seed ${seed}`] : []),
    ...(notFinite.length ? [`WARNING: ${source} holds NaN or infinities in ${notFinite.slice(0, 5).join(', ')}${notFinite.length > 5 ? ` and ${notFinite.length - 5} more` : ''}. No answer of it can be trusted.`] : []),
  ];
}
