import { readFileSync } from 'node:fs';
import * as tf from '@tensorflow/tfjs';
import { adapt, denseGradient, EspalierError, OptionsError, random, type Adapted } from '@espalier/core';
import { jitter, scaler, snapshot, tinyModels, toBeAllClose, toBeBitEqual, toLeakNothing, toRefuse, transformerBlock, type TinyInputs } from '@espalier/testing';
import { afterAll, describe, expect, it } from 'vitest';
import { miniBert, miniInputs, miniTargets, parseGoldens, pathOf, setTangents } from '../fixtures/mini-bert.ts';
import { perSampleOf } from './per-sample.ts';
import { parallel, type PrivacyRecord } from './privacy-record.ts';
import { privacyPlan, privacyRecord, privateBatch, privateLearner, type PrivacyPlan } from './private.ts';
import { canProbe } from './probes.ts';
import { epsilonOf } from './rdp.ts';
import { replayableRandomness, type Randomness } from './secure.ts';
import { tangent } from './tangent.ts';

const { one, two, inputs } = await tinyModels(afterAll);
const targets = tf.tensor2d([[1, 0, 0], [0, 0.3, 0.9], [0, 1, 0]]);
afterAll(() => targets.dispose());
const square = (y: tf.Tensor, t: tf.Tensor): tf.Scalar => tf.mul(1 / y.size, tf.sum(tf.square(tf.sub(y, tf.mul(15, t)))));
const key = { seed: 0, step: 1, samples: ['a', 'b', 'c'] };
const quiet = { uniform: () => 0.5, normal: () => 0 };
const plain: PrivacyPlan = { samples: 30, rate: 0.1, steps: 10, noiseMultiplier: 0, clip: 1e9, delta: 1e-3 };

describe.each([['one stream', one], ['two streams, with weights shared by two directions', two]] as const)('gradients of single samples, %s', (_, model) => {
  const apart = async (adapted: Adapted<TinyInputs>) => {
    const each = [];
    for (let i = 0; i < 3; i++) {
      const learned = await adapted.learn(inputs, (y) => square(tf.slice(y, [i, 0], [1, 3]), tf.slice(targets, [i, 0], [1, 3])), { training: false });
      each.push(new Map([...learned.gradients].map(([name, g]) => [name, g.dataSync<'float32'>().slice()])));
      learned.dispose();
    }
    return each;
  };

  it.each([
    ['everything', {}],
    ['the last block', { lastK: 1 }],
    ['a base drawn anew', { lastK: 1, reinit: true }],
    ['tables too, for which every sample has its own pass', { parts: ['embeddings', 'ffn'], lastK: 1 }],
    ['variables of another plugin', { places: false, of: ['scaler'] }],
  ] as const)('%s: norms and weighted sums are those of samples one by one', async (name, options) => {
    const adapted = adapt(model, [scaler({}, { trainable: false }), tangent({ lambda: 0, ...options })]);
    jitter(adapted);
    expect(canProbe(adapted, 'tangent')).toBe(!/tables|variables/.test(name));
    const expected = await apart(adapted);
    const factors = [0.7, 0.25, 1.5];
    await toLeakNothing(async () => {
      const gradients = perSampleOf(adapted);
      const found = await gradients.of(inputs, targets, square, key);
      const norms = expected.map((g) => Math.hypot(...[...g.values()].flatMap((x) => [...x])));
      toBeAllClose(found.norms, norms, { relative: 1e-5 }, 'norms');
      const sums = found.sum(factors);
      const peak = Math.max(...[...expected[2]!.values()].map((x) => Math.max(...x.map(Math.abs))));
      for (const p of adapted.parameters.values()) {
        if (p.instance !== 'tangent') continue;
        const want = Float32Array.from({ length: p.variable.size }, (_x, i) => factors.reduce((total, f, b) => total + f * (expected[b]!.get(p.path)?.[i] ?? 0), 0));
        toBeAllClose(sums.get(p.path)!.dataSync(), want, { relative: 1e-5, absolute: 2e-6 * peak }, p.path);
      }
      tf.dispose([...sums.values()]);
      found.dispose();
      gradients.dispose();
    });
    adapted.dispose();
  });
});

it('the goldens: norms of all tangents and of the last layer, factors and clipped sums', async () => {
  const G = parseGoldens(readFileSync(new URL('../fixtures/tangent.json', import.meta.url), 'utf8'));
  const D = G.miniBertDP;
  const [model, batch, labels] = [miniBert(G, transformerBlock), miniInputs(G), miniTargets(G)];
  const all = adapt(model, [tangent({ parts: ['attention', 'ffn', 'norms', 'biases', 'pooler', 'head', 'embeddings'] })]);
  setTangents(G, all);
  const whole = await perSampleOf(all).of(batch, labels, square, { seed: 0, step: 0, samples: ['a', 'b'] });
  toBeAllClose(whole.norms, D.normsAllParams, { relative: 5e-6 }, 'norms');
  whole.dispose();
  // The goldens' subset is differentiated where all tangents are set: so here, with the others frozen in a tangent of their own.
  const last = adapt(model, [tangent({ lastK: 1 }), tangent({ parts: ['attention', 'ffn', 'norms', 'biases', 'embeddings'] }, { as: 'rest', trainable: false })]);
  for (const [name, x] of Object.entries(G.miniBert.tangents)) {
    const own = last.parameters.get(`tangent/${pathOf(name)}`) ?? last.parameters.get(`tangent#rest/${pathOf(name)}`);
    tf.tidy(() => own?.variable.assign(tf.tensor(x.data, x.shape)));
  }
  const gradients = perSampleOf(last);
  const found = await gradients.of(batch, labels, square, { seed: 0, step: 0, samples: ['a', 'b'] });
  toBeAllClose(found.norms, D.normsLast1Subset, { relative: 5e-6 }, 'norms of the last layer');
  const factors = Array.from(found.norms, (n) => Math.min(1, D.clip / (n + 1e-6)));
  toBeAllClose(factors, D.clipFactorsLast1, { relative: 5e-6 }, 'factors');
  const sums = found.sum(factors);
  for (const [name, g] of Object.entries(D.clippedSumSamples)) toBeAllClose(sums.get(`tangent/${pathOf(name)}`)!.dataSync(), g.data, { relative: 1e-5 }, name);
  tf.dispose([...sums.values(), labels, ...Object.values(batch)]);
  found.dispose();
  gradients.dispose();
  for (const a of [all, last]) a.dispose();
  model.dispose();
});

describe('a private step', () => {
  const learn = async (plan: PrivacyPlan, randomness: Randomness | 'system' = quiet, options: Parameters<typeof tangent>[0] = { lastK: 1, lambda: 0 }, samples: readonly string[] = key.samples) => {
    const adapted = adapt(one, [tangent(options)]);
    jitter(adapted);
    const learner = privateLearner(adapted, plan, { loss: square, ...(randomness !== 'system' && { randomness }) });
    const lesson = await learner.learn(inputs, targets, { ...key, samples });
    const gradients = new Map([...lesson.gradients].map(([name, g]) => [name, denseGradient(g).dataSync<'float32'>().slice()]));
    const loss = lesson.scalars.dataSync()[0]!;
    lesson.dispose();
    learner.dispose();
    return { adapted, gradients, loss };
  };

  it('without noise and clipping is the ordinary one, over the expected number of samples', async () => {
    for (const lambda of [0, 0.3]) {
      const { adapted, gradients, loss } = await learn({ ...plain, samples: 50 }, quiet, { lastK: 1, lambda });
      const learned = await adapted.learn(inputs, (y) => tf.mul<tf.Scalar>(3 / 5, square(y, targets)));
      for (const [name, g] of learned.gradients) toBeAllClose(gradients.get(name)!, g.dataSync(), { relative: 1e-5, absolute: 1e-6 }, name);
      expect(loss).toBeCloseTo((learned.losses.get('task')!.dataSync()[0]! * 5) / 3, 3);
      learned.dispose();
      adapted.dispose();
    }
  });

  it('takes at most R from every sample', async () => {
    for (const clip of [5, 0.01]) {
      const { adapted, gradients } = await learn({ ...plain, clip, samples: 10, rate: 0.1 });
      // All three are longer than R: their sum is at most 3 R long.
      expect(Math.hypot(...[...gradients.values()].flatMap((x) => [...x]))).toBeLessThanOrEqual(3 * clip * (1 + 1e-5));
      const each = perSampleOf(adapted);
      const found = await each.of(inputs, targets, square, key);
      expect(Math.min(...found.norms)).toBeGreaterThan(5);
      for (const i of [0, 1, 2]) {
        const one = found.sum([0, 1, 2].map((j) => (i === j ? Math.min(1, clip / (found.norms[j]! + 1e-6)) : 0)));
        expect(Math.hypot(...[...one.values()].flatMap((x) => [...x.dataSync()]))).toBeLessThanOrEqual(clip * (1 + 1e-6));
        tf.dispose([...one.values()]);
      }
      found.dispose();
      each.dispose();
      adapted.dispose();
    }
  });

  it('adds noise of deviation sigma R / (q n), to the sum and not to every sample', async () => {
    const plan = { ...plain, noiseMultiplier: 2, clip: 3, samples: 40, rate: 0.1 };
    const still = await learn({ ...plan, noiseMultiplier: 0 }, quiet, { lambda: 0 });
    const noisy = await learn(plan, replayableRandomness(random('noise')), { lambda: 0 });
    const differences = [...still.gradients].flatMap(([name, g]) => [...g].map((x, i) => noisy.gradients.get(name)![i]! - x));
    const count = differences.length;
    expect(count).toBeGreaterThan(4000);
    const deviation = Math.sqrt(differences.reduce((sum, d) => sum + d * d, 0) / count);
    expect(Math.abs(deviation / ((2 * 3) / 4) - 1)).toBeLessThan(3 / Math.sqrt(2 * count));
    for (const { adapted } of [still, noisy]) adapted.dispose();
  });

  it('without any sample is noise alone, and noise is never the same twice', async () => {
    const plan = { ...plain, noiseMultiplier: 1, clip: 1 };
    const [first, second] = [await learn(plan, 'system', { lastK: 1, lambda: 0 }, []), await learn(plan, 'system', { lastK: 1, lambda: 0 }, [])];
    expect(first.loss).toBe(0);
    for (const [name, g] of first.gradients) {
      expect(g.every(Number.isFinite)).toBe(true);
      expect([...g]).not.toEqual([...second.gradients.get(name)!]);
    }
    for (const { adapted } of [first, second]) adapted.dispose();
  });

  it('leaves base and tangents where they are, and leaks nothing', async () => {
    const adapted = adapt(two, [tangent({ lastK: 1 })]);
    const before = [snapshot(adapted), new Map([...two.tensors].map(([path, t]) => [path, t.dataSync<'float32'>().slice()]))] as const;
    await toLeakNothing(async () => {
      const learner = privateLearner(adapted, { ...plain, noiseMultiplier: 1, clip: 1 }, { loss: square, score: (y) => tf.tidy(() => tf.mean<tf.Scalar>(y)) });
      for (let i = 0; i < 5; i++) (await learner.learn(inputs, targets, { ...key, step: i, samples: i === 2 ? [] : key.samples })).dispose();
      learner.dispose();
    });
    for (const [name, values] of snapshot(adapted)) toBeBitEqual(values, before[0].get(name)!, name);
    for (const [path, t] of two.tensors) toBeBitEqual(t.dataSync(), before[1].get(path)!, path);
    adapted.dispose();
  });
});

describe('a plan', () => {
  const options = { samples: 2000, batch: 50, steps: 400, epsilon: 3, delta: 1e-5, clip: 10 };

  it('calibrates its noise, and its record says what may be promised of the steps that were made', () => {
    const plan = privacyPlan(options);
    expect(plan.rate).toBe(0.025);
    const record = privacyRecord(plan, 400);
    expect(record.epsilon).toBeLessThanOrEqual(3);
    expect(record.epsilon).toBeGreaterThan(2.99);
    expect(record).toMatchObject({ delta: 1e-5, adjacency: 'add or remove one sample', sampling: 'poisson', samples: 2000, rate: 0.025, steps: 400, clip: 10, noiseMultiplier: plan.noiseMultiplier });
    expect(privacyRecord(plan, 100).epsilon).toBeLessThan(record.epsilon);
    const { epsilon: _, ...rest } = options;
    expect(privacyRecord(privacyPlan({ ...rest, noiseMultiplier: 1.5 }), 400).epsilon).toBeCloseTo(epsilonOf({ rate: 0.025, noiseMultiplier: 1.5, count: 400 }, 1e-5).epsilon, 12);
    const sizes = Array.from({ length: 60 }, () => privateBatch(plan).length);
    expect(new Set(sizes).size).toBeGreaterThan(3);
    expect(Math.abs(sizes.reduce((a, b) => a + b) / 60 - 50)).toBeLessThan(6);
  });

  it.each([
    [{ delta: 1 / 2000 }, "option 'delta' is 0.0005, expected less than 1 / samples", 'Use 0.00005 or less'],
    [{ delta: 0.1 }, "option 'delta'", '1 / samples'],
    [{ sampling: 'shuffled' }, "option 'sampling'", "only 'poisson'"],
    [{ batch: 3000 }, "option 'batch' is 3000", 'more than the 2000 samples'],
    [{ noiseMultiplier: 1 }, "give epsilon, or noiseMultiplier, and not both", ''],
    [{ epsilon: undefined }, "give epsilon, or noiseMultiplier, and not both", ''],
    [{ clip: 0 }, "option 'clip'", '>0'],
    [{ epsilom: 3 }, "no option 'epsilom'", "Did you mean 'epsilon'"],
  ] as [object, string, string][])('refuses %j', async (change, ...words) => {
    await toRefuse(() => privacyPlan({ ...options, ...change }), OptionsError, ...words);
  });

  it('is refused where others train too, or steps drop', async () => {
    const plan = privacyPlan(options);
    const beside = adapt(one, [scaler(), tangent({ beside: 'trainable' })]);
    await toRefuse(() => privateLearner(beside, plan, { loss: square }), EspalierError, 'must be frozen', "'scaler'");
    const dropping = adapt(one, [tangent({ dropout: true })]);
    await toRefuse(() => privateLearner(dropping, plan, { loss: square }), EspalierError, 'drops nothing');
    for (const a of [beside, dropping]) a.dispose();
  });
});

describe('parallel composition', () => {
  const record = (epsilon: number, delta = 1e-5): PrivacyRecord => ({ ...privacyRecord(privacyPlan({ samples: 100, batch: 10, steps: 1, noiseMultiplier: 4, delta, clip: 1 }), 1), epsilon });
  const shard = (index: number, seed = 0) => ({ index, of: 3, by: 'random', seed });

  it('of disjoint shards is as private as the least private', () => {
    const found = parallel([{ privacy: record(1), shard: shard(0) }, { privacy: record(3, 1e-6), shard: shard(1) }])!;
    expect(found).toMatchObject({ epsilon: 3, delta: 1e-5, samples: 200 });
    expect(found.assumptions).toContain('no sample is in two shards');
    expect(parallel([{ privacy: record(2) }])!.epsilon).toBe(2);
  });

  it('is claimed of nothing else', () => {
    expect(parallel([{ privacy: record(1), shard: shard(0) }, { shard: shard(1) }])).toBeUndefined();
    expect(parallel([{ privacy: record(1), shard: shard(0) }, { privacy: record(1), shard: shard(1, 1) }])).toBeUndefined();
    expect(parallel([{ privacy: record(1), shard: shard(0) }, { privacy: record(1), shard: shard(0) }])).toBeUndefined();
    expect(parallel([{ privacy: record(1) }, { privacy: record(1) }])).toBeUndefined();
    expect(parallel([{ shard: shard(0) }])).toBeUndefined();
  });
});
