import { readdir } from 'node:fs/promises';
import path from 'node:path';
import { z } from 'zod';
import { DataError, reasonOf } from './errors.ts';
import { checkFeatureSize, type FeatureDemand } from './feature-demand.ts';
import type { Regions } from './featuriser.ts';
import { readJson } from './json-file.ts';
import { decoded, floats, regionArrays } from './tsv-fields.ts';

export interface ImageSize {
  readonly width: number; // pixels
  readonly height: number;
}

const Stored = z.object({ num_boxes: z.int().min(1), boxes: z.string(), features: z.string(), image_box_feature: z.string().optional() });
const CocoImages = z.object({ images: z.array(z.object({ id: z.int(), width: z.int().min(1), height: z.int().min(1) })) });
const REMEDY = 'Use the features that backbone was made for, or choose a backbone (size, configuration) for these.';

/**
 * Regions of one image as VL-BERT stores them (arXiv 1908.08530): JSON `{num_boxes, boxes, features, image_box_feature?}`, base64 of
 * little-endian float32 [n, 4], [n, F] and [F]. The size of the image is not in it. @throws DataError naming file and field.
 */
export async function readVlBertRegions(file: string, { width, height }: ImageSize): Promise<Regions> {
  const { num_boxes: count, boxes, features, image_box_feature: whole } = await readJson(file, Stored, 'One JSON per image, named by its COCO number.');
  const arrays = regionArrays({ boxes: unwrapped(boxes), features: unwrapped(features) }, { count, width, height }, file, "Is the image's size the one of this image?");
  const size = arrays.features.length / count;
  return { ...arrays, width, height, ...(whole !== undefined && { imageFeature: floats(decoded(unwrapped(whole), 'image_box_feature', file), 'image_box_feature', size, file) }) };
}

/** Image number -> size, of COCO's `instances_*.json` or `image_info_*.json`. @throws DataError naming the file and the entry. */
export async function readCocoSizes(file: string): Promise<ReadonlyMap<string, ImageSize>> {
  const { images } = await readJson(file, CocoImages, 'It is one of the COCO annotation files, which tell the size of every image.');
  return new Map(images.map(({ id, width, height }) => [String(id), { width, height }]));
}

/** A folder of `IMAGE.json` files, read when asked for. */
export interface VlBertFeatures {
  readonly images: readonly string[]; // names without .json
  readonly size: number; // F
  regions(image: string): Promise<Regions>;
}

/** `sizes` tells the size of each image of the folder. @throws DataError naming the folder or file. */
export async function vlBertFeatures(directory: string, sizes: ReadonlyMap<string, ImageSize>, demand?: FeatureDemand): Promise<VlBertFeatures> {
  let names: string[];
  try {
    names = await readdir(directory);
  } catch (e) {
    throw new DataError(`${directory} cannot be listed (${reasonOf(e)}). It holds one IMAGE.json per image.`);
  }
  const images = names.filter((name) => name.endsWith('.json')).map((name) => name.slice(0, -'.json'.length)).filter((name) => sizes.has(name)).sort();
  const [first] = images;
  if (first === undefined) throw new DataError(`${directory}: no IMAGE.json of any of the ${sizes.size} images whose size is known. Are sizes and features of the same split?`);
  const read = async (image: string): Promise<Regions> => {
    const file = path.join(directory, `${image}.json`);
    const size = sizes.get(image);
    if (!size) throw new DataError(`${file}: the size of image '${image}' is not known`);
    const regions = await readVlBertRegions(file, size);
    checkFeatureSize(regions.features.length / (regions.boxes.length / 4), demand, file, REMEDY);
    return regions;
  };
  const { features, boxes } = await read(first);
  const width = features.length / (boxes.length / 4);
  return {
    images,
    size: width,
    regions: async (image) => {
      const regions = await read(image);
      const found = regions.features.length / (regions.boxes.length / 4);
      if (found !== width) throw new DataError(`${path.join(directory, `${image}.json`)}: ${found} numbers per region, those of ${first}.json ${width}. Extract the features of this image again.`);
      return regions;
    },
  };
}

/** Python's encoder breaks base64 into lines. */
const unwrapped = (base64: string) => base64.replace(/\s+/g, '');
