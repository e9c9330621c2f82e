import path from 'node:path';
import { z } from 'zod';
import { readAnswers } from './answers-file.ts';
import { answerTypeOf, splitByImage, type AnswerType, type VqaData, type VqaRecord } from './dataset.ts';
import { DataError, issuesOf } from './errors.ts';
import type { FeatureDemand } from './feature-demand.ts';
import { findings, type Finding } from './findings.ts';
import { readJson } from './json-file.ts';
import type { OpenOptions } from './open-options.ts';
import { cachedRegions } from './region-cache.ts';
import { imageNumber, openRegions, type RegionFiles, type RegionStore } from './region-store.ts';
import { Id } from './vqa-annotations.ts';

/** An entry of the JSON lists that LXMERT's authors made of VQA v2 and GQA (arXiv 1908.07490). */
const Item = z.object({
  question_id: Id,
  img_id: Id,
  sent: z.string().trim().min(1, 'the question is empty'),
  label: z.record(z.string(), z.number().min(0).max(1)).optional(), // answer -> score
  answer_type: z.enum(['yes/no', 'number', 'other']).optional(),
  question_type: z.string().optional(),
});

/** One list of items. Parts of one features file share its index. */
export interface ItemPart {
  readonly part: string; // 'nominival', the beginning of record ids
  readonly split: 'train' | 'validation' | 'test';
  readonly items: string; // file
  readonly regions: RegionFiles; // with `first`, only items of the first images count
}

/** @throws DataError naming file or record; single bad records are skipped and reported. */
export async function readItems(
  name: string,
  parts: readonly ItemPart[],
  { answers: answersFile, layout }: { readonly answers: string; readonly layout: string },
  { seed = 0, demand, cacheBytes = 2 ** 28 }: OpenOptions,
): Promise<VqaData> {
  const answers = await readAnswers(answersFile, layout);
  const vocabulary = new Map(answers.map((answer, index) => [answer, index]));
  const stores = await openStores(parts, demand);
  const sizes = [...stores.values()].map(({ size }) => size);
  if (new Set(sizes).size !== 1) throw new DataError(`${name}: features of ${[...stores.values()].map(({ file, size }) => `${path.basename(file)} are ${size} numbers wide`).join(', ')}. Extract them alike.`);
  const read: (ItemPart & { readonly records: readonly VqaRecord[]; readonly report: readonly Finding[] })[] = [];
  for (const part of parts) read.push({ ...part, ...(await readPart(part, stores.get(part.regions.features)!, vocabulary, layout)) });
  const of = (split: ItemPart['split']) => read.filter((r) => r.split === split).flatMap(({ records }) => records);
  const [train, validation, test] = [of('train'), of('validation'), of('test')];
  const byName = new Map([...stores.values()].map((store) => [path.basename(store.file), store]));
  return {
    name,
    answers,
    splits: { ...(validation.length ? { train, validation } : splitByImage(train, seed)), ...(test.length > 0 && { test }) },
    featureSize: sizes[0]!,
    regions: cachedRegions(async (key) => {
      const slash = key.indexOf('/');
      const store = byName.get(key.slice(0, slash));
      const image = store?.images.get(key.slice(slash + 1));
      if (!store || image === undefined) throw new DataError(`${name}: no regions of image '${key}'. Images are named FILE/NUMBER, as records name them.`);
      return store.regions(image);
    }, cacheBytes),
    report: () => read.flatMap(({ report }) => report),
  };
}

/** A features file is read to its end unless each of its parts wants only the first images. */
async function openStores(parts: readonly ItemPart[], demand: FeatureDemand | undefined): Promise<ReadonlyMap<string, RegionStore>> {
  const stores = new Map<string, RegionStore>();
  for (const { regions } of parts) {
    if (stores.has(regions.features)) continue;
    const first = Math.max(...parts.filter((p) => p.regions.features === regions.features).map((p) => p.regions.first ?? Infinity));
    stores.set(regions.features, await openRegions({ ...regions, first }, demand));
  }
  return stores;
}

async function readPart({ part, items: file, regions: { first = Infinity } }: ItemPart, store: RegionStore, vocabulary: ReadonlyMap<string, number>, layout: string) {
  const items = await readJson(file, z.array(z.unknown()), layout);
  const images = first < store.images.size ? new Set([...store.images.keys()].slice(0, first)) : store.images;
  const found = findings(file);
  const seen = new Set<string>();
  const records: VqaRecord[] = [];
  items.forEach((raw, n) => {
    const parsed = Item.safeParse(raw);
    if (!parsed.success) {
      found.skip('not an item', `item ${n}: ${issuesOf(parsed.error)}`);
      return;
    }
    const { sent, label, answer_type, question_type, img_id } = parsed.data;
    const id = String(parsed.data.question_id);
    const image = imageNumber(String(img_id));
    if (seen.has(id)) found.skip('question_id twice', `item ${n}: question_id ${id}`);
    else if (!images.has(image)) found.skip('image missing', `item ${n}: image ${img_id} has no regions${Number.isFinite(first) ? ` among the first ${first}` : ''}`);
    else {
      const scores = scoresOf(label ?? {}, vocabulary);
      if (label && !scores.length) found.note('no answer in the vocabulary, target all zero', `item ${n}: '${Object.keys(label).join("', '") || 'no label'}'`);
      const answerType: AnswerType = label ? (answer_type ?? answerTypeOf(bestOf(label))) : 'unlabelled';
      records.push({ id: `${part}/${id}`, image: `${path.basename(store.file)}/${image}`, question: sent, scores, answerType, questionType: question_type ?? answerType });
    }
    seen.add(id);
  });
  return { records, report: found.close(items.length) };
}

function scoresOf(label: Readonly<Record<string, number>>, vocabulary: ReadonlyMap<string, number>): VqaRecord['scores'] {
  return Object.entries(label)
    .flatMap(([answer, score]) => {
      const index = vocabulary.get(answer);
      return index === undefined || score === 0 ? [] : [[index, score] as const];
    })
    .sort(([a], [b]) => a - b);
}

const bestOf = (label: Readonly<Record<string, number>>) => Object.entries(label).reduce((best, entry) => (entry[1] > best[1] ? entry : best), ['', 0] as const)[0];
