import { existsSync, readdirSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, isAbsolute, join, resolve } from 'node:path';
import { didYouMean, EspalierError } from '@espalier/core';
import { configurationOf, fetchPretrained, fetchRepository, findModel, readVocabulary, type FetchOptions, type FoundModel, type Pretrained, type Size, type Vocabulary } from '@espalier/pretrained';
import { backbone } from '@espalier/vl-models';
import { reasonOf } from './errors.ts';
import { inFlags } from './flag-words.ts';

/** Which backbone is asked for. */
export interface BackboneChoice {
  readonly backbone?: string | undefined;
  readonly size?: Size | undefined;
  readonly weights?: string | undefined; // a directory, a file, the name of shipped ones, OWNER/NAME of the Hub, or 'none'
  readonly vocabulary?: string | undefined; // a file, where none lies beside the weights
}

/** A backbone as found, not yet built. Without a file of weights its arrays are drawn from a seed. */
export interface FoundBackbone extends FoundModel {
  readonly recorded: string | undefined; // its weights as a manifest records them: the name of shipped ones, OWNER/NAME@COMMIT of the Hub, or an absolute path
}

export interface FindOptions {
  readonly note?: ((text: string) => void) | undefined; // of downloads
  readonly signal?: AbortSignal | undefined;
  readonly offline?: boolean | undefined; // what is of the Hub is taken from the cache alone
}

const LAYOUT = 'A directory of weights holds config.json (the configuration, with model_type), model.safetensors or pytorch_model.bin, and vocab.txt (or tokenizer.json).';

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
export async function findBackbone({ backbone: name, size, weights, vocabulary }: BackboneChoice, options: FindOptions = {}): Promise<FoundBackbone> {
  const own = vocabulary === undefined ? undefined : await vocabularyAt(vocabulary);
  if (weights === undefined || weights === 'none') {
    const kind = backbone(name ?? 'vl-bert');
    const shipped = `${kind.name}-${size ?? 'small'}`;
    if (weights === undefined && shippedNames().includes(shipped)) return findBackbone({ backbone: name, size, weights: shipped, vocabulary }, options);
    return { ...configurationOf(kind, kind.sizes[size ?? 'small'], `${kind.name} ${size ?? 'small'}`), init: 'own', weights: undefined, vocabulary: own, recorded: undefined };
  }
  const { files, recorded, id } = await filesOf(weights, options);
  const found = await findModel(files, { backbone: name, size }).catch((e: unknown) => {
    throw inFlags(e);
  });
  const by = id !== undefined && files.files.includes('config.json') ? `${found.kind.name} of ${id}` : found.by;
  return { ...found, by, vocabulary: own ?? found.vocabulary, recorded: found.weights === undefined ? undefined : recorded };
}

/** The files of weights, and how a manifest records them. */
export interface FoundFiles {
  readonly files: Pretrained;
  readonly recorded: string;
  readonly id?: string; // of the Hub
}

/** `owner/name` or `owner/name@revision` of the Hugging Face Hub. */
const HUB_ID = /^([\w-][\w.-]*\/[\w-][\w.-]*?)(?:@(.+))?$/;

/** Endings of files: a path with one of them is no id, though it looks like one. */
const FILE = /\.(safetensors|bin|pth?|th|model|ckpt|h5|npz|npy|pkl|pickle|onnx|msgpack|gguf|json|txt|tsv|csv|zip|tar|t?gz)$/i;

/** The files of weights: shipped ones by name, a directory or file, or those of the Hub. What a manifest `recorded` is a path only where it is absolute. */
export async function filesOf(weights: string, { note = () => {}, signal, offline = false, recorded = false }: FindOptions & { readonly recorded?: boolean } = {}): Promise<FoundFiles> {
  if (shippedNames().includes(weights)) return { files: await fetchPretrained(join(shippedFolder(), weights)), recorded: weights };
  const path = resolve(weights);
  if (existsSync(path) && (!recorded || isAbsolute(weights))) return { files: await fetchPretrained(path), recorded: path };
  const [, id, revision] = HUB_ID.exec(weights) ?? [];
  if (id === undefined || FILE.test(id))
    throw new EspalierError(`weights '${weights}': there is no such directory or file.${didYouMean(weights, shippedNames())} Shipped are ${shippedNames().join(', ') || 'none'}. ${LAYOUT} Those of the Hugging Face Hub are named OWNER/NAME or OWNER/NAME@REVISION.`);
  const fetching: FetchOptions = { onProgress: everyTenth(note), localFilesOnly: offline, ...(revision !== undefined && { revision }), ...(signal && { signal }) };
  const files = await fetchRepository(id, fetching).catch((e: unknown) => {
    throw inFlags(e, recorded || revision !== undefined ? '' : `there is no directory or file '${weights}' here, and of the Hugging Face Hub: `);
  });
  return { files, recorded: `${id}@${files.commit ?? revision ?? 'main'}`, id };
}

/** Notes of a download: its begin, and every tenth of a file that is not small. */
function everyTenth(note: (text: string) => void): NonNullable<FetchOptions['onProgress']> {
  const told = new Map<string, number>();
  return ({ file, received, total }) => {
    const tenth = total < 10e6 ? 0 : Math.floor((10 * received) / total);
    if ((told.get(file) ?? -1) >= tenth) return;
    told.set(file, tenth);
    note(`${file}: ${(received / 1e6).toFixed(0)} of ${(total / 1e6).toFixed(0)} MB`);
  };
}

async function vocabularyAt(file: string): Promise<Vocabulary> {
  try {
    return await readVocabulary(file);
  } catch (e) {
    if (e instanceof EspalierError) throw e;
    throw new EspalierError(`--vocabulary ${file} cannot be read (${reasonOf(e)}). It is a vocab.txt or a tokenizer.json.`);
  }
}
