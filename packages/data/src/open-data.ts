import { didYouMean } from '@espalier/core';
import type { VqaData } from './dataset.ts';
import { readEasyVqa } from './easy-vqa.ts';
import { DataError } from './errors.ts';
import type { OpenOptions } from './open-options.ts';
import { shapes } from './shapes/shapes.ts';
import { readVqa2 } from './vqa2.ts';

const USAGE = 'Write shapes, shapes:IMAGES, easy-vqa:DIRECTORY or vqa2:DIRECTORY.';

/**
 * Opens `shapes[:N]` (N generated training images, default 2000, and a quarter as many for testing), `easy-vqa:DIR` or
 * `vqa2:DIR`. @throws DataError for another kind, with the nearest one.
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
    case 'shapes': {
      if (rest !== undefined && !/^\d+$/.test(rest)) throw new DataError(`data '${spec}': '${rest}' is no number of images. ${USAGE}`);
      const { seed = 0, ...others } = options;
      return shapes({ seed, ...(rest !== undefined && { train: Number(rest) }) }, others);
    }
    default:
      throw new DataError(`data '${spec}': no kind of data '${kind}'.${didYouMean(kind, ['shapes', 'easy-vqa', 'vqa2'])} ${USAGE}`);
  }
}
