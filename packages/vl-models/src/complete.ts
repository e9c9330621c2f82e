import type { Checkpoint } from '@espalier/checkpoints';
import { CheckpointError, didYouMean } from '@espalier/core';
import type { KeyOf } from './keys.ts';
import type { LoadSettings } from './load-options.ts';
import { isBert, type Match } from './match.ts';
import type { Backbone } from './vqa-model.ts';

/** Of the head what is trained on a task's answers: everything but the pooler. */
export const isHead = (path: string): boolean => path.startsWith('head.') && !path.startsWith('head.pooler.');

/** Refuses a checkpoint that lacks what the model needs, or has what nobody knows. */
export function assertComplete(kind: Backbone, keyOf: KeyOf, { name, tensors }: Checkpoint, found: Match, { init, head, strict, answers }: LoadSettings): void {
  const bert = isBert(tensors.keys());
  if (init === 'bert' && !bert) throw new CheckpointError(`${name} is not a BERT: it has no 'bert.embeddings.word_embeddings.weight' and 'bert.encoder.layer.0...', or has more than text`);
  const rows = answers !== undefined && 'rows' in answers;
  if (rows && found.missing.some((path) => path.startsWith('head.down.'))) throw new CheckpointError(`${name} has no answer layer whose rows could be chosen`);
  if (!strict) return;
  const mayLack = (path: string): boolean => {
    if (init === 'bert') return !kind.keys.fromBert.test(path);
    return isHead(path) && (head === 'drawn' || (head === 'stored-or-drawn' && !hasHead(found)) || (answers !== undefined && path.startsWith('head.down.')));
  };
  const lacking = found.missing.filter((path) => !mayLack(path)).map(keyOf);
  const { unexpected } = found;
  if (!lacking.length && !unexpected.length) return;
  const some = (keys: readonly string[]) => keys.slice(0, 5).map((k) => `'${k}'${unexpected.length < 200 ? didYouMean(k, unexpected) : ''}`).join(', ') + (keys.length > 5 ? `, and ${keys.length - 5} more` : '');
  const subject = init === 'bert' ? `the BERT that is to start a ${kind.name}` : `a ${kind.name}`;
  throw new CheckpointError(
    [
      ...(lacking.length ? [`${name} lacks ${lacking.length} arrays of ${subject}: ${some(lacking)}.`] : []),
      ...(unexpected.length ? [`${name} has ${unexpected.length} arrays that ${subject} does not know: ${unexpected.slice(0, 5).join(', ')}${unexpected.length > 5 ? ', ...' : ''}.`] : []),
      bert && init === 'own' ? `It is a BERT: with "model_type": "bert" in its config.json a ${kind.name} can be started from it.` : 'Check that configuration and weights belong together.',
    ].join(' '),
  );
}

/** Whether any of the head is there by its own name: then all of it must be. */
const hasHead = ({ found, spare }: Match): boolean => [...found.keys()].some((path) => isHead(path) && !spare.has(path));
