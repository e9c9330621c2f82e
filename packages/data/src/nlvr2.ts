import path from 'node:path';
import { z } from 'zod';
import type { VqaData, VqaRecord } from './dataset.ts';
import { fileIn, namesIn } from './directory.ts';
import { DataError, issuesOf, reasonOf } from './errors.ts';
import type { FeatureDemand } from './feature-demand.ts';
import { findings, type Finding } from './findings.ts';
import { readText } from './json-file.ts';
import type { OpenOptions } from './open-options.ts';
import { cachedRegions } from './region-cache.ts';
import { openRegions, type RegionStore } from './region-store.ts';

const LAYOUT =
  "An nlvr2 directory holds train.json, dev.json (or valid.json) and test1.json (or test.json), of NLVR2 or LXMERT's, each with SPLIT_obj36.tsv (train, valid, test), SPLIT.tsv or SPLIT.features.safetensors.";

/** A sentence about two images. `questionType` is 'nlvr2', `image` the left one. */
export interface Nlvr2Record extends VqaRecord {
  readonly images: readonly [left: string, right: string]; // keys for `regions`
}

export interface Nlvr2Data extends Pick<VqaData, 'name' | 'featureSize' | 'regions' | 'report'> {
  readonly answers: readonly ['False', 'True']; // the order of logits
  readonly splits: { readonly train: readonly Nlvr2Record[]; readonly validation: readonly Nlvr2Record[]; readonly test?: readonly Nlvr2Record[] };
}

const sentence = z.string().trim().min(1, 'the sentence is empty');
const identifier = z.string().regex(/^[^-]+-[^-]+-[^-]+-[^-]+$/, "expected 'split-set-pair-sentence'");
/** NLVR2's own lines, and the items LXMERT's authors made of them. */
const Original = z.object({ identifier, sentence, label: z.enum(['True', 'False']).optional() });
const Repackaged = z.object({ identifier, sent: sentence, img0: z.string(), img1: z.string(), label: z.union([z.literal(0), z.literal(1)]).optional() });

interface Split {
  readonly records: readonly Nlvr2Record[];
  readonly report: readonly Finding[];
  readonly store: RegionStore;
}

/**
 * Reads NLVR2 (arXiv 1811.00491) with pre-extracted regions: `train.json`, `dev.json` or `valid.json`, and `test1.json` or `test.json`
 * where it is there, either NLVR2's JSON lines `{identifier, sentence, label: "True"|"False"}` or LXMERT's list `[{identifier,
 * sent, img0, img1, label: 0|1}]`. Of NLVR2's own, images are `split-set-pair-img0` (left) and `-img1`. Record ids are
 * 'validation/IDENTIFIER'. @throws DataError naming file and record; single bad records are skipped and reported.
 */
export async function readNlvr2(directory: string, { demand, cacheBytes = 2 ** 28 }: Pick<OpenOptions, 'demand' | 'cacheBytes'> = {}): Promise<Nlvr2Data> {
  const names = await namesIn(directory, LAYOUT);
  const train = await readSplit(directory, names, 'train', ['train'], demand);
  const validation = await readSplit(directory, names, 'validation', ['dev', 'valid'], demand);
  const test = await readSplit(directory, names, 'test', ['test1', 'test'], demand);
  if (!train || !validation) throw new DataError(`${directory}: ${train ? 'dev.json' : 'train.json'} is missing. ${LAYOUT}`);
  const splits = { train, validation, ...(test && { test }) };
  const all = new Map(Object.entries(splits));
  for (const { store } of all.values())
    if (store.size !== train.store.size) throw new DataError(`${store.file}: its features are ${store.size} numbers wide, those of train ${train.store.size}. Extract them alike.`);
  return {
    name: `nlvr2:${directory}`,
    answers: ['False', 'True'],
    splits: { train: train.records, validation: validation.records, ...(test && { test: test.records }) },
    featureSize: train.store.size,
    regions: cachedRegions(async (key) => {
      const slash = key.indexOf('/');
      const store = all.get(key.slice(0, slash))?.store;
      const image = store?.images.get(key.slice(slash + 1));
      if (!store || image === undefined) throw new DataError(`${directory}: no regions of image '${key}'. Images are named SPLIT/NAME, as records name them.`);
      return store.regions(image);
    }, cacheBytes),
    report: () => [...all.values()].flatMap(({ report }) => report),
  };
}

async function readSplit(directory: string, names: readonly string[], split: string, parts: readonly string[], demand: FeatureDemand | undefined): Promise<Split | undefined> {
  const file = fileIn(directory, names, parts.map((part) => new RegExp(`^${part}\\.json$`)));
  if (file === undefined) return undefined;
  const own = [...parts, split];
  const features = fileIn(directory, names, own.flatMap((part) => [new RegExp(`^${part}\\.features\\.safetensors$`), new RegExp(`^${part}\\.tsv$`), new RegExp(`^${part}_obj36\\.tsv$`)]));
  if (features === undefined) throw new DataError(`${directory}: the regions of ${path.basename(file)} are missing. ${LAYOUT}`);
  const store = await openRegions({ features }, demand);
  return { ...recordsOf(split, await readEntries(file), file, store), store };
}

/** The entries of a JSON list, or of JSON lines; a line that is no JSON is an entry that no schema takes. */
async function readEntries(file: string): Promise<readonly unknown[]> {
  const text = await readText(file, LAYOUT);
  try {
    if (text.trimStart().startsWith('[')) return z.array(z.unknown()).parse(JSON.parse(text));
  } catch (e) {
    throw new DataError(`${file}: not JSON (${reasonOf(e)}). Was the file cut off?`);
  }
  return text.split('\n').filter((line) => line.trim() !== '').map(entryOf);
}

function entryOf(line: string): unknown {
  try {
    return JSON.parse(line);
  } catch {
    return line;
  }
}

function recordsOf(split: string, entries: readonly unknown[], file: string, { images }: RegionStore): Pick<Split, 'records' | 'report'> {
  const found = findings(file);
  const seen = new Set<string>();
  const records: Nlvr2Record[] = [];
  entries.forEach((raw, n) => {
    const item = parsed(raw);
    if (typeof item === 'string') {
      found.skip('not a sentence about two images', `entry ${n}: ${item}`);
      return;
    }
    const missing = item.images.find((image) => !images.has(image));
    if (seen.has(item.identifier)) found.skip('identifier twice', `entry ${n}: ${item.identifier}`);
    else if (missing !== undefined) found.skip('image missing', `entry ${n}: image ${missing} has no regions`);
    else {
      const [left, right] = item.images;
      records.push({
        id: `${split}/${item.identifier}`,
        image: `${split}/${left}`,
        images: [`${split}/${left}`, `${split}/${right}`],
        question: item.sentence,
        scores: item.label === undefined ? [] : [[item.label, 1]],
        answerType: item.label === undefined ? 'unlabelled' : 'other',
        questionType: 'nlvr2',
      });
    }
    seen.add(item.identifier);
  });
  return { records, report: found.close(entries.length) };
}

/** The entry, or what is wrong with it. */
function parsed(raw: unknown): { identifier: string; sentence: string; images: readonly [string, string]; label: 0 | 1 | undefined } | string {
  const theirs = Repackaged.safeParse(raw).data;
  if (theirs) return { identifier: theirs.identifier, sentence: theirs.sent, images: [theirs.img0, theirs.img1], label: theirs.label };
  const { data, error } = Original.safeParse(raw);
  if (!data) return issuesOf(error);
  const pair = data.identifier.slice(0, data.identifier.lastIndexOf('-'));
  return { identifier: data.identifier, sentence: data.sentence, images: [`${pair}-img0`, `${pair}-img1`], label: data.label === undefined ? undefined : data.label === 'True' ? 1 : 0 };
}
