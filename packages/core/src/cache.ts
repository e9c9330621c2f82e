/** Where activations of frozen parts are kept from step to step, by key. */
export interface ActivationStore {
  /** Whether it outlives this process: keys then name the weights too. */
  readonly persistent: boolean;
  get(key: string): Float32Array | undefined | Promise<Float32Array | undefined>;
  /** Takes the values over; false when there is no room for them. */
  set(key: string, values: Float32Array): boolean | Promise<boolean>;
}

/** What a cache did so far. */
export interface CacheStatistics {
  readonly hits: number; // steps whose frozen part was read
  readonly misses: number; // steps in which it was computed
  readonly full: boolean; // there was no room for some of it
  readonly refused: string | undefined; // why nothing is kept
}

/** Keeps up to so many bytes in memory, and nothing more once they are used up. */
export function activationMemory({ bytes = 2 ** 30 }: { readonly bytes?: number } = {}): ActivationStore {
  const held = new Map<string, Float32Array>();
  let used = 0;
  return {
    persistent: false,
    get: (key) => held.get(key),
    set: (key, values) => {
      const before = held.get(key)?.byteLength ?? 0;
      if (used - before + values.byteLength > bytes) return false;
      used += values.byteLength - before;
      held.set(key, values);
      return true;
    },
  };
}
