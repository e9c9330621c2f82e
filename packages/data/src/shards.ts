import { random } from '@espalier/core';
import type { VqaRecord } from './dataset.ts';
import { DataError } from './errors.ts';

/** How records are dealt out. */
export const SHARDING = ['random', 'class'] as const;

export interface ShardOptions {
  readonly index: number; // from 0
  readonly of: number;
  readonly by?: (typeof SHARDING)[number]; // default 'random'
  readonly seed?: number; // of 'random'; default 0
}

/**
 * One of `of` disjoint parts of the records, in their own order. 'random': by the place of a record's id in a keyed order, then
 * round-robin, whatever a record says; which shard holds a record does not depend on the order they are given in. 'class':
 * the answers, in the order of the vocabulary, in contiguous groups, larger ones first; a record belongs with its best answer.
 * @throws DataError for a shard that does not exist, and for one that is empty.
 */
export function shardOf(records: readonly VqaRecord[], { index, of, by = 'random', seed = 0 }: ShardOptions): readonly VqaRecord[] {
  if (!Number.isInteger(of) || of < 1 || !Number.isInteger(index) || index < 0 || index >= of)
    throw new DataError(`there is no shard ${index + 1} of ${of}: shards are whole numbers from 1 to their count`);
  const own = by === 'class' ? byClass(records, index, of) : atRandom(records, index, of, seed);
  if (!own.length) throw new DataError(`shard ${index + 1} of ${of} is empty: ${records.length} records ${by === 'class' ? 'have too few answers' : 'are too few'} for so many shards`);
  return own;
}

function atRandom(records: readonly VqaRecord[], index: number, of: number, seed: number): readonly VqaRecord[] {
  const order = records.map(({ id }, i) => ({ i, id, at: random(seed, 'shard', id).uniform() })).sort((a, b) => a.at - b.at || (a.id < b.id ? -1 : 1));
  return order.filter((_, place) => place % of === index).map(({ i }) => i).sort((a, b) => a - b).map((i) => records[i]!);
}

function byClass(records: readonly VqaRecord[], index: number, of: number): readonly VqaRecord[] {
  const best = (r: VqaRecord) => r.scores.reduce<readonly [number, number]>((most, one) => (one[1] > most[1] ? one : most), [-1, 0])[0];
  const classes = [...new Set(records.map(best))].filter((c) => c >= 0).sort((a, b) => a - b);
  // The first (classes mod of) groups have one class more.
  const [size, more] = [Math.floor(classes.length / of), classes.length % of];
  const from = index * size + Math.min(index, more);
  const own = new Set(classes.slice(from, from + size + (index < more ? 1 : 0)));
  return records.filter((r) => own.has(best(r)));
}
