import { z } from 'zod';

/** What is promised of tangents that were trained privately, and under which assumptions. */
export const PrivacyRecord = z.strictObject({
  epsilon: z.number().nonnegative(),
  delta: z.number().positive().lt(1),
  adjacency: z.literal('add or remove one sample'),
  sampling: z.literal('poisson'),
  samples: z.int().positive(), // n
  rate: z.number().positive().max(1), // q
  steps: z.int().nonnegative(), // T
  noiseMultiplier: z.number().positive(), // sigma
  clip: z.number().positive(), // R
  order: z.number(), // the Renyi order that gives epsilon
  assumptions: z.array(z.string()),
});
export type PrivacyRecord = z.infer<typeof PrivacyRecord>;

interface Private {
  readonly privacy?: PrivacyRecord | undefined;
  readonly shard?: { readonly index: number; readonly of: number; readonly by: string; readonly seed: number } | undefined;
}

/**
 * Parallel composition: of components on disjoint shards a sample is in one alone, so all of them together, any mean, and any
 * removal are (max epsilon, max delta)-private. Undefined where a component is not private, or shards are not those of one split.
 */
export function parallel(components: readonly Private[]): PrivacyRecord | undefined {
  const [first] = components;
  if (!first?.privacy) return undefined;
  if (components.length === 1) return first.privacy;
  const splits = new Set(components.map(({ shard }) => shard && JSON.stringify([shard.of, shard.by, shard.seed])));
  const indices = new Set(components.map(({ shard }) => shard?.index));
  const all = components.flatMap(({ privacy }) => privacy ?? []);
  if (all.length < components.length || splits.size > 1 || splits.has(undefined) || indices.size < components.length) return undefined;
  const worst = all.reduce((a, b) => (b.epsilon > a.epsilon ? b : a));
  return {
    ...worst,
    delta: Math.max(...all.map((p) => p.delta)),
    samples: all.reduce((n, p) => n + p.samples, 0),
    assumptions: [...new Set([...all.flatMap((p) => p.assumptions), 'no sample is in two shards'])],
  };
}
