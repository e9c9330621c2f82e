import { existsSync, readdirSync, statSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { basename, dirname, join, resolve } from 'node:path';
import { didYouMean, EspalierError, readSafetensors, type StoredTensor } from '@espalier/core';
import { backbone, type Backbone } from '@espalier/vl-models';
import { z } from 'zod';
import { parseJson } from './json.ts';

/** Which backbone is asked for. */
export interface BackboneChoice {
  readonly backbone?: string | undefined;
  readonly size?: 'tiny' | 'small' | 'base' | undefined;
  readonly weights?: string | undefined; // a directory, a file, the name of shipped ones, or 'none'
}

/** The arrays of a checkpoint file. */
export interface StoredWeights {
  readonly file: string;
  readonly tensors: ReadonlyMap<string, StoredTensor>;
}

/** A backbone as found on disk, not yet built. */
export interface FoundBackbone {
  readonly kind: Backbone;
  readonly config: Readonly<Record<string, unknown>>; // complete
  readonly by: string; // whose configuration it is, for messages
  readonly weights: string | undefined; // what a manifest records: the name of shipped ones or an absolute path
  readonly stored: StoredWeights | undefined; // none: arrays are drawn from the seed
  readonly vocabulary: Vocabulary | undefined;
}

export interface Vocabulary {
  readonly file: string;
  readonly text: string; // of a vocab.txt or tokenizer.json
}

const LAYOUT = 'A directory of weights holds config.json (the configuration, with model_type), model.safetensors and vocab.txt (or tokenizer.json).';
const Config = z.looseObject({ model_type: z.string().optional() });

/** Where the weights that are shipped with the models lie. */
const shippedFolder = () => join(dirname(createRequire(import.meta.url).resolve('@espalier/vl-models')), '..', 'weights');

/** The names of shipped weights. */
function shippedNames(): string[] {
  const folder = shippedFolder();
  return existsSync(folder) ? readdirSync(folder).filter((name) => existsSync(join(folder, name, 'config.json'))).sort() : [];
}

/**
 * Finds a backbone: the weights given, else the shipped ones of that kind and size, else a configuration alone, whose
 * arrays are then drawn from a seed. @throws EspalierError naming the file and the remedy.
 */
export async function findBackbone({ backbone: name, size, weights }: BackboneChoice): Promise<FoundBackbone> {
  if (weights === undefined) {
    const shipped = `${backbone(name ?? 'vl-bert').name}-${size ?? 'small'}`;
    return findBackbone({ backbone: name, size, weights: shippedNames().includes(shipped) ? shipped : 'none' });
  }
  if (weights === 'none') return checked({ kind: backbone(name ?? 'vl-bert'), size: size ?? 'small' }, {});
  const shipped = shippedNames().includes(weights);
  const path = shipped ? join(shippedFolder(), weights) : resolve(weights);
  const recorded = shipped ? weights : path;
  if (!existsSync(path)) throw new EspalierError(`weights '${weights}': there is no such directory or file.${didYouMean(weights, shippedNames())} Shipped are ${shippedNames().join(', ') || 'none'}. ${LAYOUT}`);
  const folder = statSync(path).isDirectory() ? path : dirname(path);
  const file = folder === path ? join(path, 'model.safetensors') : path;
  const configFile = join(folder, 'config.json');
  const vocabulary = await vocabularyIn(folder);
  const parts = { weights: recorded, stored: await storedIn(folder, file), vocabulary };
  if (!existsSync(configFile)) {
    if (name === undefined || size === undefined)
      throw new EspalierError(`${configFile} is missing. ${LAYOUT} Without config.json give --backbone and --size.`);
    return checked({ kind: backbone(name), size }, parts);
  }
  const json = Config.safeParse(parseJson(await readFile(configFile, 'utf8'), configFile));
  if (!json.success) throw new EspalierError(`${configFile}: ${json.error.issues.map((i) => `${i.path.join('.') || 'top level'}: ${i.message}`).join('; ')}`);
  const told = json.data.model_type === undefined ? undefined : backbone(json.data.model_type).name;
  if (told === undefined && name === undefined) throw new EspalierError(`${configFile} has no model_type ('lxmert', 'vl_bert' or 'visual_bert'). Add it, or give --backbone.`);
  if (told !== undefined && name !== undefined && told !== backbone(name).name)
    throw new EspalierError(`${configFile} is of a '${told}', but --backbone is '${name}'. Leave --backbone out, or name the weights of a ${name}.`);
  return checked({ kind: backbone(told ?? name ?? ''), size, config: json.data, file: configFile }, parts);
}

/** The vocabulary of a directory, where it has one. */
export async function vocabularyIn(folder: string): Promise<Vocabulary | undefined> {
  const file = ['vocab.txt', 'tokenizer.json'].map((name) => join(folder, name)).find((path) => existsSync(path));
  return file === undefined ? undefined : { file, text: await readFile(file, 'utf8') };
}

async function storedIn(folder: string, file: string): Promise<StoredWeights | undefined> {
  if (existsSync(file)) return readWeights(file);
  const pickled = readdirSync(folder).find((name) => /\.(bin|pth|pt|model)$/.test(name));
  if (pickled !== undefined)
    throw new EspalierError(`${join(folder, pickled)} is a pickle, which is not read. Convert it once: in Python, safetensors.torch.save_file(torch.load('${pickled}'), 'model.safetensors').`);
  return undefined;
}

/** @throws CheckpointError naming the file when it is no safetensors file or was cut off. */
export async function readWeights(file: string): Promise<StoredWeights> {
  return { file, tensors: readSafetensors(await readFile(file), file).tensors };
}

interface Source {
  readonly kind: Backbone;
  readonly size?: BackboneChoice['size'];
  readonly config?: Readonly<Record<string, unknown>>;
  readonly file?: string;
}

function checked({ kind, size, config, file }: Source, parts: Partial<FoundBackbone>): FoundBackbone {
  const ofSize = size && configured(kind, kind.sizes[size], `${kind.name} ${size}`);
  const complete = config ? configured(kind, config, file ?? 'config.json') : ofSize;
  if (!complete) throw new EspalierError(`${kind.name}: neither a size nor a configuration is given`);
  if (ofSize && ofSize['hidden_size'] !== complete['hidden_size'])
    throw new EspalierError(`size '${size}' of ${kind.name} has hidden_size ${String(ofSize['hidden_size'])}, but ${file} says ${String(complete['hidden_size'])}. Leave --size out, or name other weights ('none' draws new ones).`);
  const by = config ? `${kind.name} of ${basename(dirname(file ?? ''))}` : `${kind.name} ${size}`;
  return { kind, config: complete, by, weights: undefined, stored: undefined, vocabulary: undefined, ...parts };
}

/** A configuration with its defaults. */
function configured(kind: Backbone, config: unknown, where: string): Record<string, unknown> {
  const parsed = kind.schema.safeParse(config);
  if (!parsed.success) throw new EspalierError(`${where}: ${parsed.error.issues.map((i) => `'${i.path.join('.')}': ${i.message}`).join('; ')}`);
  return z.record(z.string(), z.unknown()).parse(parsed.data);
}
