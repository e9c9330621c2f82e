import { readFile } from 'node:fs/promises';
import { readSafetensors, writeSafetensors, type SafetensorsFile } from '@espalier/core';
import { z } from 'zod';
import { writeAtomically } from './atomic-file.ts';
import { DataError, reasonOf } from './errors.ts';
import { checkFeatureSize, type FeatureDemand } from './feature-demand.ts';
import type { Regions } from './featuriser.ts';
import { parseJson } from './json.ts';

const FORMAT = 'espalier-features/1';

/** Pre-extracted regions of one split, in memory. */
export interface FeatureFile {
  readonly images: readonly string[]; // in the order of the file
  readonly size: number; // F
  readonly source: string; // what made the features: a featuriser's or a detector's name
  /** @throws DataError when the file has no such image. */
  regions(image: string): Regions;
}

/**
 * Writes regions as one safetensors file: `features` F32 [N, R, F] and `boxes` F32 [N, R, 4] with zero rows where an
 * image has fewer than R regions, `counts` I32 [N], `sizes` F32 [N, 2] (width, height in pixels); metadata `format` =
 * 'espalier-features/1', `images` = JSON list of N names, `source`. The file appears whole or not at all.
 */
export async function writeFeatures(file: string, source: string, entries: AsyncIterable<readonly [string, Regions]> | Iterable<readonly [string, Regions]>): Promise<void> {
  const all: (readonly [string, Regions])[] = [];
  for await (const entry of entries) all.push(entry);
  const [first] = all.filter(([, r]) => r.boxes.length > 0);
  if (!first) throw new DataError(`${file}: there are no regions to write`);
  const widthOf = ({ features, boxes }: Regions) => features.length / (boxes.length / 4);
  const size = widthOf(first[1]);
  const most = Math.max(...all.map(([, r]) => r.boxes.length / 4));
  const features = new Float32Array(all.length * most * size);
  const boxes = new Float32Array(all.length * most * 4);
  const counts = new Int32Array(all.length);
  const sizes = new Float32Array(all.length * 2);
  all.forEach(([image, r], n) => {
    if (r.boxes.length > 0 && widthOf(r) !== size) throw new DataError(`${file}: image '${image}' has ${widthOf(r)} numbers per region, those before it ${size}. One file holds one width.`);
    features.set(r.features, n * most * size);
    boxes.set(r.boxes, n * most * 4);
    counts[n] = r.boxes.length / 4;
    sizes.set([r.width, r.height], n * 2);
  });
  const tensors = new Map([
    ['features', { shape: [all.length, most, size], data: features }],
    ['boxes', { shape: [all.length, most, 4], data: boxes }],
    ['counts', { shape: [all.length], data: counts }],
    ['sizes', { shape: [all.length, 2], data: sizes }],
  ]);
  await writeAtomically(file, writeSafetensors(tensors, { format: FORMAT, source, images: JSON.stringify(all.map(([image]) => image)) }));
}

/** Reads what `writeFeatures` wrote. @throws DataError naming the file and what is wrong, a width other than `demand`'s and numbers that are not finite included. */
export async function readFeatures(file: string, demand?: FeatureDemand): Promise<FeatureFile> {
  let bytes: Uint8Array;
  try {
    bytes = await readFile(file);
  } catch (e) {
    throw new DataError(`${file} cannot be read (${reasonOf(e)}). Pre-extracted regions are written with writeFeatures.`);
  }
  const stored = readSafetensors(bytes, file);
  if (stored.metadata['format'] !== FORMAT)
    throw new DataError(`${file}: metadata 'format' is '${stored.metadata['format'] ?? 'missing'}', expected '${FORMAT}'. Write the file with writeFeatures.`);
  const images = parseJson(stored.metadata['images'] ?? '[]', z.array(z.string()), `${file}, metadata 'images'`);
  const index = new Map(images.map((image, n) => [image, n]));
  if (index.size !== images.length) throw new DataError(`${file}: metadata 'images' names an image twice`);
  const [, most = 0, size = 0] = stored.tensors.get('features')?.shape ?? [];
  const features = tensor(stored, file, 'features', [images.length, most, size]);
  const boxes = tensor(stored, file, 'boxes', [images.length, most, 4]);
  const counts = tensor(stored, file, 'counts', [images.length]);
  const sizes = tensor(stored, file, 'sizes', [images.length, 2]);
  checkFeatureSize(size, demand, file, 'Extract the features that backbone was made for, or choose a backbone (size, configuration) for these.');
  images.forEach((image, n) => {
    if (!(counts[n]! >= 0 && counts[n]! <= most)) throw new DataError(`${file}: image '${image}' claims ${counts[n]} regions of at most ${most}`);
  });
  return {
    images,
    size,
    source: stored.metadata['source'] ?? 'unknown',
    regions: (image) => {
      const n = index.get(image);
      if (n === undefined) throw new DataError(`${file}: has no regions of image '${image}' (it has ${images.length} images)`);
      const count = counts[n]!;
      return {
        features: features.slice(n * most * size, (n * most + count) * size),
        boxes: boxes.slice(n * most * 4, (n * most + count) * 4),
        width: sizes[2 * n]!,
        height: sizes[2 * n + 1]!,
      };
    },
  };
}

function tensor({ tensors }: SafetensorsFile, file: string, name: string, shape: readonly number[]): Float32Array {
  const found = tensors.get(name);
  if (!found) throw new DataError(`${file}: tensor '${name}' is missing; it has ${[...tensors.keys()].join(', ') || 'none'}`);
  if (found.shape.join() !== shape.join()) throw new DataError(`${file}: tensor '${name}' is [${found.shape.join(', ')}], expected [${shape.join(', ')}]`);
  if (found.data instanceof BigInt64Array) throw new DataError(`${file}: tensor '${name}' is ${found.dtype}, expected F32 or I32`);
  const bad = found.data.findIndex((x) => !Number.isFinite(x));
  if (bad >= 0) throw new DataError(`${file}: tensor '${name}' holds ${found.data[bad]} at place ${bad}. Extract the features again.`);
  return found.data instanceof Float32Array ? found.data : Float32Array.from(found.data);
}
