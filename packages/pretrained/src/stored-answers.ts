import { applied, type Backbone } from '@espalier/vl-models';
import { openWeights } from './open-weights.ts';

/** How many answers the answer layer of a file of weights has; undefined where it has none. Only names and shapes are read. */
export async function storedAnswers(kind: Backbone, config: unknown, weights: string): Promise<number | undefined> {
  const bias = kind.keys.of(config)('head.down.bias');
  const checkpoint = await openWeights(weights);
  try {
    const [, stored] = [...checkpoint.tensors].find(([key]) => applied(kind.keys.renames, key) === bias) ?? [];
    return stored?.shape[0];
  } finally {
    await checkpoint.close();
  }
}
