import * as tf from '@tensorflow/tfjs';
import { adapt, denseGradient, EspalierError, activationMemory } from '@espalier/core';
import { disposeInputs, jitter, scaler, takeInputs, tinyLoss, tinyModels, toBeAllClose, toLeakNothing, toRefuse } from '@espalier/testing';
import { afterAll, expect, it } from 'vitest';
import { cachedLearner } from './cached.ts';
import { tangent } from './tangent.ts';

const { one, two, inputs } = await tinyModels(afterAll);
const key = (samples: string, step = 1) => ({ seed: 0, step, samples: [...samples] });

it.each([['one stream', one], ['two streams', two]] as const)('teaches what the ordinary learner does, %s, and holds one trace for each batch', async (_, model) => {
  const adapted = adapt(model, [scaler({}, { trainable: false }), tangent({ lambda: 0.1 })]);
  jitter(adapted);
  const options = { loss: tinyLoss, score: (y: tf.Tensor) => tf.tidy(() => tf.mean<tf.Scalar>(y)) };
  const plain = adapted.learner<undefined>(options);
  await toLeakNothing(async () => {
    const cached = cachedLearner<typeof inputs, undefined>(adapted, options);
    for (const [samples, batches] of [['abc', 1], ['abc', 1], ['cab', 2], ['abc', 2]] as const) {
      const [a, b] = [await plain.learn(inputs, undefined, key(samples)), await cached.learn(inputs, undefined, key(samples))];
      expect(b.names).toEqual(a.names.filter((name) => name !== 'squaredNorm'));
      toBeAllClose(b.scalars, a.scalars.dataSync().slice(0, b.names.length), { relative: 1e-6 }, 'scalars');
      for (const [name, g] of a.gradients) toBeAllClose(denseGradient(b.gradients.get(name)!), denseGradient(g), { relative: 2e-6 }, name);
      a.dispose();
      b.dispose();
      expect(cached.held.entries).toBe(batches);
      // Tangents move, the trace stays.
      tf.tidy(() => [...adapted.parameters.values()].filter((p) => p.instance === 'tangent').forEach((p) => p.variable.assign(tf.mul(p.variable, 1.1))));
    }
    expect(cached.held.bytes).toBeGreaterThan(1000);
    cached.dispose();
    const small = cachedLearner<typeof inputs, undefined>(adapted, { ...options, bytes: 100 });
    (await small.learn(inputs, undefined, key('abc'))).dispose();
    expect(small.held).toEqual({ entries: 0, bytes: 0 });
    small.dispose();
  });
  plain.dispose();
  adapted.dispose();
});

it.each([['one stream', one, 1], ['two streams', two, 1], ['two streams, both cross blocks', two, 2]] as const)('the cache of activations holds what enters the linearised blocks, %s: batches put together anew find every sample', async (_name, model, lastK) => {
  const adapted = adapt(model, [scaler({}, { trainable: false }), tangent({ lastK, replaceCls: true })]);
  jitter(adapted);
  const loss = (y: tf.Tensor) => tinyLoss(y);
  const plain = adapted.learner<undefined>({ loss });
  const mixed = takeInputs(inputs, [2, 0, 1]);
  await toLeakNothing(async () => {
    const cached = adapted.learner<undefined>({ loss, cache: activationMemory() });
    const products: number[] = [];
    for (const [batch, samples] of [[inputs, 'abc'], [mixed, 'cab'], [mixed, 'cab'], [inputs, 'abc']] as const) {
      const a = await plain.learn(batch, undefined, key(samples));
      let b: Awaited<ReturnType<typeof cached.learn>> | undefined;
      const profile = await tf.profile(async () => {
        b = await cached.learn(batch, undefined, key(samples));
        return [];
      });
      products.push(profile.kernels.filter((k) => k.name === 'BatchMatMul').length);
      for (const [name, g] of a.gradients) toBeAllClose(denseGradient(b!.gradients.get(name)!), denseGradient(g), { relative: 2e-6 }, name);
      a.dispose();
      b!.dispose();
    }
    // Computed once to be kept and once to be compared; then the frozen blocks do not run.
    expect(cached.cached).toEqual({ hits: 2, misses: 2, full: false, refused: undefined });
    expect(products[2]).toBeLessThan(products[1]!);
    expect(products[3]).toBe(products[2]);
    cached.dispose();
  });
  plain.dispose();
  disposeInputs(mixed);
  adapted.dispose();
});

it('is refused where the frozen model moves or drops', async () => {
  const dropping = adapt(one, [tangent({ dropout: true })]);
  await toRefuse(() => cachedLearner(dropping, { loss: tinyLoss }), EspalierError, 'where it drops');
  const moved = adapt(one, [scaler(), tangent({ beside: 'trainable' })]);
  await toRefuse(() => cachedLearner(moved, { loss: tinyLoss }), EspalierError, "'scaler' moves it");
  for (const a of [dropping, moved]) a.dispose();
});
