import * as tf from '@tensorflow/tfjs';
import { beforeAll, expect, it } from 'vitest';
import { Account, totalMacs } from './account.ts';
import { costsOf, spreadOf } from './costs.ts';

beforeAll(async () => {
  tf.env().set('PROD', true); // without the cpu backend's hint
  await tf.setBackend('cpu');
});

/** A product of m k n multiply-adds, with or without transposes and a batch. */
const product = (m: number, k: number, n: number, [left, right] = [false, false], batch: number[] = []) =>
  tf.tidy(() => void tf.matMul(tf.zeros([...batch, ...(left ? [k, m] : [m, k])]), tf.zeros([...batch, ...(right ? [n, k] : [k, n])]), left, right));

it('counts m k n for every product, per sample', async () => {
  const rows = await Account.of(2, async () => {
    product(2, 3, 5);
    product(2, 3, 5, [true, false]);
    product(2, 3, 5, [false, true]);
    product(2, 3, 5, [true, true]);
    product(2, 3, 5, [false, false], [7]);
    tf.tidy(() => void tf.add(tf.zeros([4]), 1));
  });
  expect(rows).toEqual([{ place: '', instance: '', macs: (11 * 30) / 2, spent: Float64Array.of(165, 165), expected: Float64Array.of(165, 165) }]);
});

it('counts fused products and ones that broadcast their batch', async () => {
  const rows = await Account.of(1, async () => {
    tf.tidy(() => void tf.fused.matMul({ a: tf.zeros([2, 3]), b: tf.zeros([3, 5]), bias: tf.zeros([5]) }));
    tf.tidy(() => void tf.matMul(tf.zeros([4, 2, 3]), tf.zeros([1, 3, 5])));
  });
  expect(totalMacs(rows)).toBe(30 + 4 * 30);
});

it('books to the outermost place and the innermost plugin', async () => {
  const rows = await Account.of(1, async (account) => {
    product(1, 1, 1);
    account.within({ place: 'block' }, () => {
      product(1, 1, 2);
      account.within({ instance: 'a' }, () => {
        product(1, 1, 4);
        account.within({ place: 'inner', instance: 'b' }, () => product(1, 1, 8));
        account.within({ instance: '' }, () => product(1, 1, 16));
        product(1, 1, 32);
      });
    });
    expect(() => account.within({ instance: 'c' }, () => { throw new Error('no'); })).toThrow('no');
    product(1, 1, 64);
  });
  expect(Object.fromEntries(rows.map((r) => [`${r.place}|${r.instance}`, r.macs]))).toEqual({ '|': 65, 'block|': 18, 'block|a': 36, 'block|b': 8 });
});

it('books to the samples that a product is for; what all share, to all', async () => {
  const [row] = await Account.of(3, async (account) => {
    product(1, 1, 3);
    account.within({ rows: [2, 0] }, () => {
      product(1, 1, 10);
      account.shared('', () => product(1, 1, 6));
    });
    account.within({ rows: [1, 1] }, () => product(1, 1, 4)); // a row may be repeated to fill a size
  });
  expect(row).toMatchObject({ macs: 23 / 3, spent: Float64Array.of(8, 7, 8), expected: Float64Array.of(8, 7, 8) });
});

it('expects of a choice what each way costs a sample by its probability, whichever ran', async () => {
  const made: string[] = [];
  const ways = (probabilities: readonly number[]) => [
    { probabilities, run: () => product(1, 1, 10) },
    {
      probabilities: probabilities.map((p) => 1 - p),
      run: () => {
        if (!made.length) product(1, 1, 1000); // made once, for all
        made.push('');
        product(1, 1, 4);
      },
    },
  ];
  const rows = await Account.of(2, async (account) => {
    product(2, 1, 1);
    account.within({ place: 'block' }, () =>
      account.expect([1], ways([0.25]), () => {
        account.within({ rows: [1] }, () => product(1, 1, 10));
        account.expect(undefined, [{ probabilities: [1, 1], run: () => product(1, 1, 7) }], () => product(1, 1, 2)); // inside another choice
        account.shared('a', () => product(1, 1, 8));
      }),
    );
    product(2, 1, 1);
  });
  const found = Object.fromEntries(rows.map((r) => [`${r.place}|${r.instance}`, [[...r.spent], [...r.expected]]]));
  expect(found).toEqual({ '|': [[2, 2], [2, 2]], 'block|': [[1, 11], [0, 0.25 * 10 + 0.75 * 4]], 'block|a': [[4, 4], [4, 4]] });
  const costs = costsOf([rows, rows]);
  expect(costs.samples).toBe(4);
  expect(costs.total).toEqual({ spent: { mean: 12, p95: 17 }, expected: { mean: 8.75, p95: 11.5 } });
  expect(Object.keys(costs.byPlace)).toEqual(['', 'block']);
  expect(costs.byInstance['a']!.spent).toEqual({ mean: 4, p95: 4 });
});

it('95 of 100 values do not exceed the 95th percentile', () => {
  expect(spreadOf(Array.from({ length: 100 }, (_, i) => 100 - i))).toEqual({ mean: 50.5, p95: 95 });
  expect(spreadOf([3])).toEqual({ mean: 3, p95: 3 });
  expect(costsOf([]).total.spent).toEqual({ mean: 0, p95: 0 });
});
