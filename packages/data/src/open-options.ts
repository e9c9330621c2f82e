import type { FeatureDemand } from './feature-demand.ts';
import type { Featuriser } from './featuriser.ts';

/** How any data set is opened. */
export interface OpenOptions {
  /** What makes regions of images; 'file' takes the pre-extracted ones beside the data. Default: `gridRegions()`. */
  readonly featuriser?: Featuriser | 'file';
  /** Of the validation split and of generated data; default 0. */
  readonly seed?: number;
  /** Refuses regions of another width than the backbone takes. */
  readonly demand?: FeatureDemand;
  /** Bound of the regions kept in memory; default 2^28 (256 MiB). */
  readonly cacheBytes?: number;
}
