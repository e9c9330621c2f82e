import { memoryCheckpoint } from '@espalier/checkpoints';
import { EspalierError } from '@espalier/core';
import { wordPiece, type FeatureDemand, type WordPiece } from '@espalier/data';
import { initialised, loadModel, type Backbone, type VqaModel } from '@espalier/vl-models';
import type { FoundBackbone, StoredWeights } from './backbone-weights.ts';

export interface BuildOptions {
  readonly kind: Backbone;
  readonly config: Readonly<Record<string, unknown>>;
  readonly stored: StoredWeights | undefined;
  readonly seed: number; // of what the checkpoint does not hold
  readonly wholeHead?: boolean; // true: a checkpoint without answer head is refused; default false, the head is drawn anew
}

/** Builds a backbone: from a checkpoint's arrays, all of them accounted for, or from a seed. `drawn` counts the arrays of the head that were drawn. */
export async function buildBackbone({ kind, config, stored, seed, wholeHead = false }: BuildOptions): Promise<{ model: VqaModel<unknown>; drawn: number }> {
  if (!stored) return { model: kind.build(config, initialised(seed)), drawn: 0 };
  const { model, report } = await loadModel(kind, config, memoryCheckpoint(stored.tensors, stored.file), { head: wholeHead ? 'stored' : 'stored-or-drawn', seed });
  return { model, drawn: report.drawn.length };
}

/** The configuration with the vocabulary's size and special tokens. @throws EspalierError when the vocabulary is larger than the checkpoint's table. */
export function withVocabulary({ config, stored, vocabulary }: FoundBackbone, tokens: WordPiece): Record<string, unknown> {
  const rows = Number(config['vocab_size']);
  if (stored && tokens.size > rows)
    throw new EspalierError(`${vocabulary?.file ?? 'the vocabulary'} has ${tokens.size} word pieces, ${stored.file} a table of ${rows} (vocab_size). Put the vocabulary beside the weights that they were trained with.`);
  const { cls, sep, mask } = tokens.specials;
  return { ...config, vocab_size: stored ? rows : tokens.size, cls, sep, mask, ...(typeof config['question_mark'] === 'number' && { question_mark: tokens.pieces.includes('?') ? tokens.pieces.indexOf('?') : null }) };
}

/** The tokenizer that belongs to a backbone's weights; without weights, what `train` makes from the questions. */
export function tokenizerOf({ vocabulary, stored }: FoundBackbone, train: () => string): { tokens: WordPiece; text: string } {
  if (!vocabulary && stored) throw new EspalierError(`there is no vocab.txt (or tokenizer.json) beside ${stored.file}. Its word embeddings mean nothing without the vocabulary they were trained with: put it there.`);
  const text = vocabulary?.text ?? train();
  return { tokens: wordPiece(text, vocabulary?.file ?? 'the vocabulary made from the training questions'), text };
}

/** How wide regions must be for a backbone, and which key says so. */
export function demandOf({ kind, config, by }: Pick<FoundBackbone, 'kind' | 'config' | 'by'>): FeatureDemand {
  return { size: Number(config[kind.featureKey]), by: `${by} (${kind.featureKey})` };
}
