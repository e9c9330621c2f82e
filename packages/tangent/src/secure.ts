/** Random numbers that nobody can predict or replay. */
export interface Randomness {
  /** In [0, 1), 53 bits. */
  uniform(): number;
  /** Standard normal, in double precision. */
  normal(): number;
}

/**
 * From the system's cryptographic generator; there is no seed. A normal number is the sum of four of Box and Muller over two, so
 * that the gaps of floating-point numbers do not tell which it was (arXiv 2107.10138).
 */
export function secureRandomness(): Randomness {
  const words = new Uint32Array(1 << 13);
  let at = words.length;
  const word = () => {
    if (at === words.length) {
      globalThis.crypto.getRandomValues(words);
      at = 0;
    }
    const found = words[at]!;
    words[at++] = 0; // what was used is gone
    return found;
  };
  const uniform = () => ((word() >>> 5) * 2 ** 26 + (word() >>> 6)) / 2 ** 53;
  return { uniform, normal: () => fromFour(boxMuller(uniform)) };
}

/** Numbers of a generator that can be replayed, for tests alone. */
export const replayableRandomness = (generator: { uniform(): number; normal(): number }): Randomness => ({
  uniform: () => generator.uniform(),
  normal: () => generator.normal(),
});

const fromFour = (normal: () => number): number => (normal() + normal() + normal() + normal()) / 2;

/** One normal number a call; its twin is not kept, so that a number is used once. */
const boxMuller = (uniform: () => number) => (): number => Math.sqrt(-2 * Math.log(1 - uniform())) * Math.cos(2 * Math.PI * uniform());

/** Each of `samples` with probability q, independently of all others; may be none. */
export function poissonSample(samples: number, rate: number, { uniform }: Pick<Randomness, 'uniform'>): number[] {
  const chosen: number[] = [];
  for (let i = 0; i < samples; i++) if (uniform() < rate) chosen.push(i);
  return chosen;
}
