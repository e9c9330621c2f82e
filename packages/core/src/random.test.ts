import * as tf from '@tensorflow/tfjs';
import { beforeAll, describe, expect, it } from 'vitest';
import { constant, copyOf, kaiming, normal, uniform, xavier } from './initializers.ts';
import { dropoutMask, noise, type NoiseKey } from './noise.ts';
import { random } from './random.ts';

beforeAll(async () => {
  tf.env().set('PROD', true); // without the cpu backend's hint
  await tf.setBackend('cpu');
});

const draws = <T>(n: number, f: () => T) => Array.from({ length: n }, f);
const mean = (xs: readonly number[]) => xs.reduce((a, b) => a + b, 0) / xs.length;
const variance = (xs: readonly number[]) => mean(xs.map((x) => (x - mean(xs)) ** 2));

describe('keyed generators', () => {
  it('repeat for equal keys and differ for every other key', () => {
    const first = (...key: (string | number)[]) => draws(4, random(...key).uniform);
    expect(first(0, 'init', 'a')).toEqual(first(0, 'init', 'a'));
    const keys = [[0, 'init', 'a'], [1, 'init', 'a'], [0, 'init', 'b'], [0, 'a', 'init'], [0, 'init'], ['0', 'init', 'a'], [0, 'inita'], [0, 'init', 'a', 0]];
    const seen = new Set(keys.map((key) => first(...key).join()));
    expect(seen.size).toBe(keys.length);
  });

  it('do not notice what is drawn from others', () => {
    const alone = draws(6, random(1, 'x').normal);
    const [x, y] = [random(1, 'x'), random(1, 'y')];
    const beside = draws(6, () => (y.uniform(), y.integer(7), x.normal()));
    expect(beside).toEqual(alone);
  });

  it('are not related across neighbouring keys', () => {
    const firsts = Array.from({ length: 4000 }, (_, i) => random(i).uniform());
    expect(mean(firsts)).toBeCloseTo(0.5, 1);
    const lagged = mean(firsts.slice(1).map((x, i) => (x - 0.5) * (firsts[i]! - 0.5)));
    expect(Math.abs(lagged)).toBeLessThan(4 / 12 / Math.sqrt(4000));
  });

  it('are uniform, normal and fair', () => {
    const n = 20_000;
    const g = random('statistics');
    const u = draws(n, g.uniform);
    expect(Math.min(...u)).toBeGreaterThanOrEqual(0);
    expect(Math.max(...u)).toBeLessThan(1);
    expect(Math.abs(mean(u) - 0.5)).toBeLessThan(4 * Math.sqrt(1 / 12 / n));
    expect(Math.abs(variance(u) - 1 / 12)).toBeLessThan(0.002);
    const z = draws(n, g.normal);
    expect(Math.abs(mean(z))).toBeLessThan(4 / Math.sqrt(n));
    expect(Math.abs(variance(z) - 1)).toBeLessThan(0.05);
    expect(Math.abs(mean(z.map((x) => x ** 3)))).toBeLessThan(0.15);
    expect(Math.abs(mean(z.map((x) => x ** 4)) - 3)).toBeLessThan(0.3);
    expect(z.every(Number.isFinite)).toBe(true);
    const counts = new Map<number, number>();
    for (const i of draws(n, () => g.integer(5))) counts.set(i, (counts.get(i) ?? 0) + 1);
    expect([...counts.keys()].sort()).toEqual([0, 1, 2, 3, 4]);
    for (const count of counts.values()) expect(Math.abs(count - n / 5)).toBeLessThan(4 * Math.sqrt(n / 5));
  });

  it('permute every element once, every order as often', () => {
    const g = random('orders');
    expect(g.permutation(0)).toEqual([]);
    expect([...g.permutation(50)].sort((a, b) => a - b)).toEqual(Array.from({ length: 50 }, (_, i) => i));
    const orders = new Map<string, number>();
    for (const order of draws(6000, () => g.permutation(3).join())) orders.set(order, (orders.get(order) ?? 0) + 1);
    expect(orders.size).toBe(6);
    for (const count of orders.values()) expect(Math.abs(count - 1000)).toBeLessThan(4 * Math.sqrt(1000));
  });
});

describe('noise of a step', () => {
  const key: NoiseKey = { seed: 0, step: 3, samples: ['a', 'b', 'c'], pass: 0 };
  const rows = (k: NoiseKey, path = 'p') => {
    const t = noise(k, path, [4], 'normal');
    const values = t.arraySync() as number[][];
    t.dispose();
    return values;
  };

  it('belongs to the sample, not to its place in the batch', () => {
    const [a, b, c] = rows(key);
    expect(rows({ ...key, samples: ['c', 'a'] })).toEqual([c, a]);
    expect(rows({ ...key, samples: ['b'] })).toEqual([b]);
  });

  it('differs between steps, passes, places and seeds', () => {
    const seen = [rows(key), rows({ ...key, step: 4 }), rows({ ...key, pass: 1 }), rows({ ...key, seed: 1 }), rows(key, 'q')];
    expect(new Set(seen.map((x) => JSON.stringify(x))).size).toBe(5);
  });

  it('has Gumbel numbers: mean 0.577, variance pi^2 / 6, always finite', () => {
    const t = noise({ ...key, samples: ['x'] }, 'gumbel', [20_000], 'gumbel');
    const values = [...t.dataSync()];
    t.dispose();
    expect(values.every(Number.isFinite)).toBe(true);
    expect(Math.abs(mean(values) - 0.5772)).toBeLessThan(0.05);
    expect(Math.abs(variance(values) - Math.PI ** 2 / 6)).toBeLessThan(0.1);
  });

  it('drops by the sample, not by its place in the batch', () => {
    const masks = (samples: readonly string[]) => {
      const t = dropoutMask({ ...key, samples }, 'drop', [40], 0.5);
      const values = t.arraySync() as number[][];
      t.dispose();
      return values;
    };
    const [a, b, c] = masks(['a', 'b', 'c']);
    expect(masks(['c', 'a'])).toEqual([c, a]);
    expect(a).not.toEqual(b);
  });

  it('drops at the rate asked for and keeps the mean', () => {
    const t = dropoutMask({ ...key, samples: ['x', 'y'] }, 'drop', [10_000], 0.1);
    const values = [...t.dataSync()];
    t.dispose();
    expect(new Set(values)).toEqual(new Set([0, Math.fround(1 / 0.9)]));
    expect(Math.abs(values.filter((x) => x === 0).length / values.length - 0.1)).toBeLessThan(0.01);
  });
});

describe('initialisers', () => {
  const peak = (xs: Float32Array) => xs.reduce((most, x) => Math.max(most, Math.abs(x)), 0);

  it('fill shapes within their bounds', () => {
    const g = () => random('initialisers');
    expect(constant(2)([2, 2], g())).toEqual(Float32Array.of(2, 2, 2, 2));
    expect(peak(uniform(0.5)([4000], g()))).toBeLessThanOrEqual(0.5);
    expect(peak(uniform(0.5)([4000], g()))).toBeGreaterThan(0.49);
    expect(peak(kaiming([64, 100], g()))).toBeLessThanOrEqual(1 / 8);
    expect(peak(kaiming([64, 100], g()))).toBeGreaterThan(0.12);
    expect(peak(xavier([50, 100], g()))).toBeLessThanOrEqual(Math.fround(0.2));
    expect(peak(xavier([50, 100], g()))).toBeGreaterThan(0.19);
    const z = [...normal(0.02, 1)([5000], g())];
    expect(Math.abs(mean(z) - 1)).toBeLessThan(0.002);
    expect(Math.abs(Math.sqrt(variance(z)) - 0.02)).toBeLessThan(0.002);
  });

  it('copyOf copies, and refuses another size', () => {
    const values = Float32Array.of(1, 2);
    const copy = copyOf(values)([2], random());
    expect(copy).toEqual(values);
    expect(copy).not.toBe(values);
    expect(() => copyOf(values)([3], random())).toThrow('2 values for shape [3]');
  });
});
