import { adapt, type Plugin } from '@espalier/core';
import { adapter, disposeInputs, jitter, tinyInputs, tinyLoss, tinyOneStream, tinyTwoStream, toBeAllClose, useCpu, useOnnx } from '@espalier/testing';
import { afterAll, describe, expect, it } from 'vitest';
import { spottune } from './spottune.ts';

afterAll(useCpu);

const policy = { kind: 'trunk', hidden: 6 } as const;
const models = { one: () => tinyOneStream({ dropout: 0.2 }), two: () => tinyTwoStream({ dropout: 0.2 }) };
const cases: readonly { name: string; kind: keyof typeof models; plugins: () => Plugin[]; recompute?: boolean }[] = [
  { name: 'blocks', kind: 'one', plugins: () => [spottune({ policy })] },
  { name: 'blocks of two streams', kind: 'two', plugins: () => [spottune({ policy, budget: { kind: 'target', rate: 0.3 } })] },
  { name: 'sublayers', kind: 'two', plugins: () => [spottune({ strategy: 'spottune_res', policy })] },
  { name: 'components', kind: 'one', plugins: () => [spottune({ strategy: 'spottune', policy })] },
  { name: 'blocks that are dropped', kind: 'two', plugins: () => [spottune({ strategy: 'blockdrop', policy })] },
  { name: 'blocks that are replaced', kind: 'one', plugins: () => [spottune({ strategy: 'blockreplace', policy })] },
  { name: 'what another plugin adapts', kind: 'one', plugins: () => [spottune({ copies: false, policy }), adapter()] },
  { name: 'the branch not taken for half of the samples', kind: 'one', plugins: () => [spottune({ policy, counterfactual: { fraction: 0.5 } })] },
  { name: 'the branch not taken every second step', kind: 'one', plugins: () => [spottune({ policy, counterfactual: { every: 2 } })] },
  { name: 'a rare branch', kind: 'one', plugins: () => [spottune({ policy: { ...policy, prior: 0.05 } })] },
  { name: 'random gates', kind: 'two', plugins: () => [spottune({ policy: { kind: 'random', rate: 0.5 } })] },
  { name: 'recomputed blocks', kind: 'one', plugins: () => [spottune({ policy })], recompute: true },
];

describe('a recorded step that groups samples', () => {
  it.each(cases)('$name: is replayed, and gives what running every sample its own way gives', async ({ kind, plugins, recompute = false }) => {
    const lengths = Array.from({ length: 6 }, (_, i) => [2 + (i % 3), 1 + (i % 2)] as const);
    const taught = async (backend: () => Promise<void>) => {
      await backend();
      const [model, batch] = [models[kind](), tinyInputs({ lengths, padded: [4, 3] })];
      const adapted = adapt(model, plugins());
      jitter(adapted, { deviation: 0.3 });
      const learner = adapted.learner<undefined>({ loss: (y) => tinyLoss(y), recompute });
      const numbers = new Map<string, Float32Array>();
      const how: unknown[] = [];
      for (let step = 0; step < 6; step++) {
        const lesson = await learner.learn(batch, undefined, { seed: 0, step, samples: lengths.map((_, i) => `s${i}`) });
        numbers.set(`${step} loss`, lesson.scalars.dataSync<'float32'>().slice(0, 1));
        for (const [path, g] of lesson.gradients) if (!('rows' in g)) numbers.set(`${step} ${path}`, g.dataSync<'float32'>().slice());
        how.push(learner.last);
        lesson.dispose();
      }
      const { refused } = learner;
      learner.dispose();
      adapted.dispose();
      model.dispose();
      disposeInputs(batch);
      return { numbers, how, refused, mixes: adapted.plan.mixes };
    };
    const [expected, found] = [await taught(useCpu), await taught(useOnnx)];
    expect([found.refused, found.mixes]).toEqual([undefined, undefined]);
    expect(found.how.slice(-2)).toEqual(['replayed', 'replayed']);
    for (const [name, values] of found.numbers) toBeAllClose(values, expected.numbers.get(name) ?? new Float32Array(values.length), { relative: 5e-5, absolute: 1e-6 }, name);
    // Of what nothing reached one side has zeros and the other nothing.
    for (const [name, values] of expected.numbers) if (!found.numbers.has(name)) expect(values.every((x) => x === 0), name).toBe(true);
  });
});
