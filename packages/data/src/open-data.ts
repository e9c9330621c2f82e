import { didYouMean } from '@espalier/core';
import type { VqaData } from './dataset.ts';
import { readEasyVqa } from './easy-vqa.ts';
import { DataError, parseOptions, reasonOf } from './errors.ts';
import { readGqa } from './gqa.ts';
import type { OpenOptions } from './open-options.ts';
import { shapesOptions, type ShapesOptions } from './shapes/generation.ts';
import { shapes } from './shapes/shapes.ts';
import { readVqa2 } from './vqa2.ts';

const USAGE = 'Write shapes, shapes:IMAGES, shapes:{"train":1000,"most":2}, easy-vqa:DIRECTORY, vqa2:DIRECTORY or gqa:DIRECTORY.';

/**
 * Opens `shapes[:N]` (N generated training images, default 2000, and a quarter as many for testing), `shapes:{json}` with
 * any of `ShapesOptions` ({"train":1000,"most":2,"families":["attribute"]}), `easy-vqa:DIR`, `vqa2:DIR` or `gqa:DIR`. @throws DataError for another kind, with the nearest one.
 */
export async function openData(spec: string, options: OpenOptions = {}): Promise<VqaData> {
  const colon = spec.indexOf(':');
  const kind = colon < 0 ? spec : spec.slice(0, colon);
  const rest = colon < 0 ? undefined : spec.slice(colon + 1);
  const directory = () => {
    if (!rest) throw new DataError(`data '${spec}': the directory is missing. ${USAGE}`);
    return rest;
  };
  switch (kind) {
    case 'easy-vqa':
      return readEasyVqa(directory(), options);
    case 'vqa2':
      return readVqa2(directory(), options);
    case 'gqa':
      return readGqa(directory(), options);
    case 'nlvr2':
      throw new DataError(`data '${spec}': NLVR2 asks about two images at a time. Read it with readNlvr2 and pairBatches.`);
    case 'shapes': {
      if (rest?.startsWith('{')) return shapes(shapesJson(spec, rest, options.seed ?? 0), withoutSeed(options));
      if (rest !== undefined && !/^\d+$/.test(rest)) throw new DataError(`data '${spec}': '${rest}' is no number of images. ${USAGE}`);
      return shapes({ seed: options.seed ?? 0, ...(rest !== undefined && { train: Number(rest) }) }, withoutSeed(options));
    }
    default:
      throw new DataError(`data '${spec}': no kind of data '${kind}'.${didYouMean(kind, ['shapes', 'easy-vqa', 'vqa2', 'gqa'])} ${USAGE}`);
  }
}

function withoutSeed({ seed: _, ...others }: OpenOptions): Omit<OpenOptions, 'seed'> {
  return others;
}

/** Options of generated scenes; the seed is what stands beside them unless they have one. */
function shapesJson(spec: string, text: string, seed: number): ShapesOptions {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (e) {
    throw new DataError(`--data ${spec}: the options are not JSON (${reasonOf(e)}). ${USAGE}`);
  }
  return parseOptions(`--data ${spec}`, shapesOptions, typeof json === 'object' && json !== null ? { seed, ...json } : json);
}
