import * as tf from '@tensorflow/tfjs';
import { beforeAll, expect, it } from 'vitest';
import { Account, totalMacs } from './account.ts';

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
  expect(rows).toEqual([{ place: '', instance: '', macs: (11 * 30) / 2 }]);
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
