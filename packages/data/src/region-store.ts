import { stat } from 'node:fs/promises';
import { DataError, reasonOf } from './errors.ts';
import type { FeatureDemand } from './feature-demand.ts';
import type { Regions } from './featuriser.ts';
import { readFeatures } from './features-file.ts';
import { indexRegionTsv } from './region-tsv.ts';
import { readCocoSizes, vlBertFeatures } from './vl-bert-features.ts';

/** Pre-extracted regions of the images of one or more splits. */
export interface RegionStore {
  readonly file: string;
  readonly size: number; // F
  /** COCO number, or else name -> name in the file; in the order of the file. */
  readonly images: ReadonlyMap<string, string>;
  regions(name: string): Regions | Promise<Regions>;
}

export interface RegionFiles {
  /** A TSV (obj36 or bottom-up columns), a safetensors file of `writeFeatures`, or a folder of VL-BERT's JSON files. */
  readonly features: string;
  /** COCO annotations that tell the image sizes; such a folder needs them. */
  readonly sizes?: string | undefined;
  /** Reads no more than this many rows of a TSV. */
  readonly first?: number | undefined;
}

/** @throws DataError naming the file, its line or field. */
export async function openRegions({ features: file, sizes, first }: RegionFiles, demand: FeatureDemand | undefined): Promise<RegionStore> {
  const { images, size, regions } = await source(file, sizes, first, demand);
  return { file, size, images: new Map(images.map((image) => [imageNumber(image), image])), regions };
}

async function source(file: string, sizes: string | undefined, first: number | undefined, demand: FeatureDemand | undefined) {
  if (file.endsWith('.tsv')) return indexRegionTsv(file, demand, first);
  if (!(await isFolder(file))) return readFeatures(file, demand);
  if (sizes === undefined) throw new DataError(`${file}: the sizes of its images are missing. Put COCO's instances_train2014.json, instances_val2014.json or image_info_test2015.json beside it.`);
  return vlBertFeatures(file, await readCocoSizes(sizes), demand);
}

async function isFolder(file: string): Promise<boolean> {
  try {
    return (await stat(file)).isDirectory();
  } catch (e) {
    throw new DataError(`${file} cannot be read (${reasonOf(e)})`);
  }
}

/** 'COCO_val2014_000000000042' and 42 are the same image: '42'. */
export function imageNumber(image: string): string {
  return /^(?:COCO_\w+?_)?0*(\d+)$/.exec(image)?.[1] ?? image;
}
