import { EspalierError } from '@espalier/core';
import { wordPiece, type FeatureDemand, type WordPiece } from '@espalier/data';
import { openWeights } from '@espalier/pretrained';
import { initialised, loadModel, type LoadOptions, type LoadReport, type VqaModel } from '@espalier/vl-models';
import type { FoundBackbone } from './backbone-weights.ts';
import { UsageError } from './errors.ts';

export interface BuildOptions extends Pick<FoundBackbone, 'kind' | 'config' | 'init' | 'weights'> {
  readonly seed: number; // of what the checkpoint does not hold
  readonly head?: LoadOptions['head'] | undefined; // default: a checkpoint without answer head gets a drawn one
  readonly signal?: AbortSignal | undefined;
}

/** Builds a backbone: from a file of weights, with a report of all its arrays, or from a seed alone. */
export async function buildBackbone({ kind, config, init, weights, seed, head = 'stored-or-drawn', signal }: BuildOptions): Promise<{ model: VqaModel<unknown>; report?: LoadReport }> {
  if (head === 'stored' && (weights === undefined || init === 'bert'))
    throw new UsageError(`--head stored: ${weights === undefined ? 'there are no weights' : `${weights} is a BERT`}, so no answer head is stored. Leave --head out.`);
  if (weights === undefined) return { model: kind.build(config, initialised(seed)) };
  const checkpoint = await openWeights(weights);
  try {
    return await loadModel(kind, config, checkpoint, { init, head, seed, ...(signal && { signal }) });
  } finally {
    await checkpoint.close();
  }
}

/** The tokenizer that belongs to a backbone's weights; without weights, what `train` makes from the questions. */
export function tokenizerOf({ vocabulary, weights }: FoundBackbone, train: () => string): { tokens: WordPiece; text: string } {
  if (!vocabulary && weights !== undefined) throw new EspalierError(`there is no vocab.txt (or tokenizer.json) beside ${weights}. Its word embeddings mean nothing without the vocabulary they were trained with: put it there, or name it with --vocabulary FILE.`);
  const text = vocabulary?.text ?? train();
  return { tokens: wordPiece(text, vocabulary?.file ?? 'the vocabulary made from the training questions'), text };
}

/** How wide regions must be for a backbone, and which key says so. */
export function demandOf({ kind, config, by }: Pick<FoundBackbone, 'kind' | 'config' | 'by'>): FeatureDemand {
  return { size: Number(config[kind.featureKey]), by: `${by} (${kind.featureKey})` };
}
