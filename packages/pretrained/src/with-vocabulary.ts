import { EspalierError } from '@espalier/core';
import type { WordPiece } from '@espalier/data';
import type { FoundModel } from './find-model.ts';

/** The configuration with the vocabulary's size and special tokens. @throws EspalierError when the vocabulary is larger than the checkpoint's table. */
export function withVocabulary({ config, weights, vocabulary }: Pick<FoundModel, 'config' | 'weights' | 'vocabulary'>, tokens: WordPiece): Record<string, unknown> {
  const rows = Number(config['vocab_size']);
  if (weights !== undefined && tokens.size > rows)
    throw new EspalierError(`${vocabulary?.file ?? 'the vocabulary'} has ${tokens.size} word pieces, ${weights} a table of ${rows} (vocab_size). Put the vocabulary beside the weights that they were trained with.`);
  const { cls, sep, mask } = tokens.specials;
  const mark = tokens.pieces.indexOf('?');
  return { ...config, vocab_size: weights !== undefined ? rows : tokens.size, cls, sep, mask, ...(typeof config['question_mark'] === 'number' && { question_mark: mark < 0 ? null : mark }) };
}
