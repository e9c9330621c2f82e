import { sha256 } from '@noble/hashes/sha2.js';
import { xoroshiro128plusFromState } from 'pure-rand/generator/xoroshiro128plus';

/** What a stream of random numbers belongs to: (seed, step, sample, place, ...). Equal keys give equal numbers. */
export type Key = readonly (string | number)[];

/** A stream of random numbers of its own; drawing from one never moves another. */
export interface Random {
  /** A number in [0, 1), 24 bits. */
  uniform(): number;
  /** A standard normal number (Box-Muller). */
  normal(): number;
  /** An integer in [0, n). */
  integer(n: number): number;
  /** A permutation of 0 .. n-1 (Fisher-Yates). */
  permutation(n: number): number[];
}

const encoder = new TextEncoder();

/**
 * The generator of a key: xoroshiro128+ started from the first 128 bits of SHA-256 of the key, so that neither the
 * order of calls nor other users can change what is drawn.
 */
export function random(...key: Key): Random {
  const bytes = sha256(encoder.encode(JSON.stringify(key)));
  const view = new DataView(bytes.buffer, bytes.byteOffset);
  const state = [0, 4, 8, 12].map((at) => view.getInt32(at));
  const generator = xoroshiro128plusFromState(state);
  const uniform = () => (generator.next() >>> 8) / 2 ** 24;
  let spare: number | undefined;
  const normal = () => {
    if (spare !== undefined) {
      const z = spare;
      spare = undefined;
      return z;
    }
    const radius = Math.sqrt(-2 * Math.log(1 - uniform()));
    const angle = 2 * Math.PI * uniform();
    spare = radius * Math.sin(angle);
    return radius * Math.cos(angle);
  };
  const integer = (n: number) => Math.floor(((generator.next() >>> 0) / 2 ** 32) * n);
  const permutation = (n: number) => {
    const order = Array.from({ length: n }, (_, i) => i);
    for (let i = n - 1; i > 0; i--) {
      const j = integer(i + 1);
      [order[i], order[j]] = [order[j]!, order[i]!];
    }
    return order;
  };
  return { uniform, normal, integer, permutation };
}
