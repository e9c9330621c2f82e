import { didYouMean } from '@espalier/core';
import { componentOptions, componentRegions } from './component-regions.ts';
import { DataError, parseOptions, reasonOf } from './errors.ts';
import { gridOptions, gridRegions } from './grid-regions.ts';
import type { RgbImage } from './image.ts';

/** The regions of one image. */
export interface Regions {
  readonly features: Float32Array; // [R, F]
  readonly boxes: Float32Array; // [R, 4] x1 y1 x2 y2 in pixels of the image
  readonly width: number; // of the image, pixels
  readonly height: number;
  readonly imageFeature?: Float32Array; // [F] of the whole image, where the data have it
}

/** Turns an image into regions, each a vector of `size` numbers with a box. `featuriserFrom(name)` makes it again. */
export interface Featuriser {
  readonly name: string; // with its options: 'grid:{"cells":8,"patch":8,"background":"subtract"}'
  readonly size: number; // F
  regions(image: RgbImage): Regions;
}

const kinds: Readonly<Record<string, (options: unknown) => Featuriser>> = {
  grid: (given) => gridRegions(parseOptions("featuriser 'grid'", gridOptions, given)),
  components: (given) => componentRegions(parseOptions("featuriser 'components'", componentOptions, given)),
};

/** A featuriser from `KIND` or `KIND:{JSON options}`: 'grid', 'grid:{"cells":4}', 'components'. @throws DataError with the nearest kind or option. */
export function featuriserFrom(spec: string): Featuriser {
  const colon = spec.indexOf(':');
  const name = colon < 0 ? spec : spec.slice(0, colon);
  const make = Object.hasOwn(kinds, name) ? kinds[name] : undefined;
  if (!make) throw new DataError(`no featuriser '${name}'.${didYouMean(name, Object.keys(kinds))} Featurisers are ${Object.keys(kinds).join(', ')}.`);
  let options: unknown = {};
  try {
    if (colon >= 0) options = JSON.parse(spec.slice(colon + 1));
  } catch (e) {
    throw new DataError(`featuriser '${spec}': what follows the colon is not JSON (${reasonOf(e)}). Write for example grid:{"cells":4}.`);
  }
  return make(options);
}
