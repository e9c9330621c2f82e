import { expect, it } from 'vitest';
import type { VqaRecord } from './dataset.ts';
import { DataError } from './errors.ts';
import { shardOf } from './shards.ts';

const records = Array.from({ length: 23 }, (_, i): VqaRecord => ({
  id: `train/${i}`, image: 'x', question: 'what is it', scores: [[i % 7, 0.4], [(i + 1) % 7, 0.9]], answerType: 'other', questionType: 'x',
}));
const ids = (xs: readonly VqaRecord[]) => xs.map((r) => r.id);
const all = (of: number, by: 'random' | 'class', seed = 0) => Array.from({ length: of }, (_, index) => shardOf(records, { index, of, by, seed }));

it.each(['random', 'class'] as const)('%s shards are disjoint, make up the whole and keep its order', (by) => {
  const shards = all(5, by);
  expect(shards.flatMap(ids).sort()).toEqual(ids(records).sort());
  for (const shard of shards) expect(ids(shard)).toEqual(ids(records).filter((id) => ids(shard).includes(id)));
});

it('random shards are even, follow from the seed, and do not depend on the order of the records', () => {
  expect(all(5, 'random').map((s) => s.length)).toEqual([5, 5, 5, 4, 4]);
  expect(all(5, 'random', 1).map(ids)).not.toEqual(all(5, 'random').map(ids));
  expect(ids(shardOf([...records].reverse(), { index: 2, of: 5 })).sort()).toEqual(ids(shardOf(records, { index: 2, of: 5 })).sort());
});

it('shards by class hold contiguous groups of best answers, larger ones first', () => {
  const classes = all(3, 'class').map((s) => [...new Set(s.map((r) => r.scores[1]![0]))].sort());
  expect(classes).toEqual([[0, 1, 2], [3, 4], [5, 6]]);
});

it('shards that do not exist or are empty are refused', () => {
  expect(() => shardOf(records, { index: 5, of: 5 })).toThrow(DataError);
  expect(() => shardOf(records, { index: 5, of: 5 })).toThrow('there is no shard 6 of 5');
  expect(() => shardOf(records, { index: 24, of: 25 })).toThrow('shard 25 of 25 is empty: 23 records are too few');
  expect(() => shardOf(records, { index: 7, of: 8, by: 'class' })).toThrow('too few answers');
});
