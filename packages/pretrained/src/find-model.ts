import { readFile } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { CheckpointError } from '@espalier/core';
import { backbone, backbones, type Backbone } from '@espalier/vl-models';
import { z } from 'zod';
import { weightsOf, type Pretrained } from './directory.ts';
import { storedAnswers } from './stored-answers.ts';
import { vocabularyIn, type Vocabulary } from './vocabulary.ts';

export interface ModelChoice {
  readonly backbone?: string | undefined; // default what config.json says
  readonly size?: Size | undefined; // of the configuration where there is no config.json
  readonly config?: Readonly<Record<string, unknown>> | undefined; // entries that go before those of config.json
}
export type Size = 'tiny' | 'small' | 'base';

/** A model as its files tell, not yet built. */
export interface FoundModel {
  readonly kind: Backbone;
  readonly config: Readonly<Record<string, unknown>>; // complete
  readonly init: 'own' | 'bert'; // whose the weights are: the model's, or a BERT's to start it from
  readonly by: string; // whose configuration it is, for messages
  readonly weights: string | undefined; // the file of weights, or the index of its shards
  readonly vocabulary: Vocabulary | undefined;
}

const Config = z.looseObject({ model_type: z.string().optional() });

/** Reads the configuration and the vocabulary of a model's files. @throws CheckpointError naming the file and the remedy. */
export async function findModel(pretrained: Pretrained, { backbone: name, size, config: changes }: ModelChoice = {}): Promise<FoundModel> {
  const { directory } = pretrained;
  const parts = { weights: weightsOf(pretrained), vocabulary: await vocabularyIn(directory) };
  const file = join(directory, 'config.json');
  const given = await configurationIn(pretrained);
  if (!given) {
    if (name === undefined || (size === undefined && changes === undefined))
      throw new CheckpointError(`${file} is missing: put there the configuration, with model_type, or name the backbone and its size (options 'backbone' and 'size': tiny, small or base)`);
    const kind = backbone(name);
    const sized = configurationOf(kind, { ...Object(size && kind.sizes[size]), ...changes }, `${kind.name} ${size ?? 'of its own'}`);
    const answers = parts.weights === undefined || changes?.[kind.answersKey] !== undefined ? undefined : await storedAnswers(kind, sized.config, parts.weights);
    return { ...sized, config: { ...sized.config, ...(answers !== undefined && { [kind.answersKey]: answers }) }, init: 'own', ...parts };
  }
  const told = given.model_type;
  if (told === 'bert') {
    if (name === undefined) throw new CheckpointError(`${file} is of a BERT, which reads no images: name the backbone that is to start from it (option 'backbone': ${[...backbones.keys()].join(', ')})`);
    const kind = backbone(name);
    const { model_type: _, ...bert } = given;
    return { ...configurationOf(kind, { ...Object(kind.fromBert(bert)), ...changes }, file, size), init: 'bert', ...parts };
  }
  if (told === undefined && name === undefined) throw new CheckpointError(`${file} has no model_type ('lxmert', 'vl_bert', 'visual_bert' or 'bert'). Add it, or name the backbone (option 'backbone').`);
  const kind = told === undefined ? backbone(name ?? '') : [...backbones.values()].find((one) => one.modelType === told);
  if (!kind) throw new CheckpointError(`${file} is of a '${told}', which is not supported: model_type is one of ${[...backbones.values()].map((one) => one.modelType).join(', ')}, or bert to start one of them from`);
  if (name !== undefined && kind !== backbone(name)) throw new CheckpointError(`${file} is of a '${kind.name}', but the backbone is to be '${name}'. Leave the backbone out, or name the weights of a ${name}.`);
  return { ...configurationOf(kind, { ...given, ...changes }, file, size), init: 'own', ...parts };
}

/** A kind's configuration, complete. @throws CheckpointError naming the entry that is wrong, and where it is not of the size that is asked for. */
export function configurationOf(kind: Backbone, given: unknown, where: string, size?: Size): Pick<FoundModel, 'kind' | 'config' | 'by'> {
  const config = complete(kind, given, where);
  const asked = size && complete(kind, kind.sizes[size], `${kind.name} ${size}`)['hidden_size'];
  if (asked !== undefined && asked !== config['hidden_size'])
    throw new CheckpointError(`size '${size}' of ${kind.name} has hidden_size ${String(asked)}, but ${where} says ${String(config['hidden_size'])}. Leave the size out, or name other weights ('none' draws new ones).`);
  return { kind, config, by: where.endsWith('config.json') ? `${kind.name} of ${basename(dirname(where))}` : where };
}

function complete(kind: Backbone, given: unknown, where: string): Record<string, unknown> {
  const checked = kind.schema.safeParse(given);
  if (!checked.success) throw new CheckpointError(`${where}: ${checked.error.issues.map((i) => `'${i.path.join('.')}': ${i.message}`).join('; ')}`);
  return z.record(z.string(), z.unknown()).parse(checked.data);
}

/** What a model's config.json says, as it stands; undefined where there is none. @throws CheckpointError for what is no object in JSON. */
export async function configurationIn({ directory, files }: Pretrained): Promise<z.output<typeof Config> | undefined> {
  if (!files.includes('config.json')) return undefined;
  const file = join(directory, 'config.json');
  let json: unknown;
  try {
    json = JSON.parse(await readFile(file, 'utf8'));
  } catch (cause) {
    throw new CheckpointError(`${file} is not JSON: ${cause instanceof Error ? cause.message : String(cause)}`, { cause });
  }
  const checked = Config.safeParse(json);
  if (!checked.success) throw new CheckpointError(`${file}: ${checked.error.issues.map((i) => `${i.path.join('.') || 'top level'}: ${i.message}`).join('; ')}`);
  return checked.data;
}
