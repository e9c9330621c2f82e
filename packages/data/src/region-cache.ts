import type { Regions } from './featuriser.ts';

export type RegionSource = (image: string) => Promise<Regions>;

/**
 * Keeps the most recently used regions, at most `bytes` of them (0 keeps none). Calls for an image that is still being
 * made share one making; a failure is not kept.
 */
export function cachedRegions(source: RegionSource, bytes: number): RegionSource {
  const kept = new Map<string, Regions>(); // in the order of use, oldest first
  const making = new Map<string, Promise<Regions>>();
  let held = 0;
  const keep = (image: string, regions: Regions) => {
    kept.set(image, regions);
    held += sizeOf(regions);
    for (const [oldest, value] of kept) {
      if (held <= bytes) break;
      kept.delete(oldest);
      held -= sizeOf(value);
    }
  };
  return (image) => {
    const found = kept.get(image);
    if (found) {
      kept.delete(image);
      kept.set(image, found);
      return Promise.resolve(found);
    }
    const running = making.get(image);
    if (running) return running;
    const made = source(image)
      .then((regions) => {
        keep(image, regions);
        return regions;
      })
      .finally(() => making.delete(image));
    making.set(image, made);
    return made;
  };
}

const sizeOf = ({ features, boxes, imageFeature }: Regions) => features.byteLength + boxes.byteLength + (imageFeature?.byteLength ?? 0);
