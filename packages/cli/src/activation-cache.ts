import { activationMemory, type ActivationStore } from '@espalier/core';
import { activationFiles } from '@espalier/train';

const MEGABYTE = 2 ** 20;
const MEMORY = 'memory';

/** The store that `--cache` names: `memory`, or a folder. Sizes are in MiB; default 1024 in memory, 16384 in files. */
export function activationCache({ cache, cacheSize }: { readonly cache?: string | undefined; readonly cacheSize?: number | undefined }): ActivationStore | undefined {
  if (cache === undefined) return undefined;
  const bound = cacheSize === undefined ? {} : { bytes: cacheSize * MEGABYTE };
  return cache === MEMORY ? activationMemory(bound) : activationFiles(cache, bound);
}
