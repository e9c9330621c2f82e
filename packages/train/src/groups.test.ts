import * as tf from '@tensorflow/tfjs';
import { adapt, EspalierError, OptionsError } from '@espalier/core';
import { tinyOneStream, toLeakNothing, toRefuse, useCpu } from '@espalier/testing';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { tinyTraining } from '../fixtures/tiny-task.ts';
import { optimiserGroups } from './groups.ts';
import { adamW, sgd } from './methods.ts';
import { schedule } from './schedule.ts';

beforeAll(useCpu);
const made = { training: undefined as ReturnType<typeof tinyTraining> | undefined };
beforeAll(() => {
  made.training = tinyTraining();
});
afterAll(() => made.training!.dispose());
const points = () => made.training!.adapted.trainable;

it('gives each group its own method, rate and schedule', () => {
  const groups = optimiserGroups(points(), {
    default: { method: adamW(), rate: 1e-3, schedule: schedule({ shape: 'linear' }) },
    policy: { method: sgd(), rate: 0.5 },
  });
  const bias = points().find((p) => p.group === 'policy')!;
  const gradients = new Map([[bias.path, tf.tensor1d([1, 2, 4])]]);
  expect(groups.update(gradients, 3, 4, () => 0.5)).toEqual({ default: 1e-3 * 0.5, policy: 0.5 });
  expect([...bias.variable.dataSync()]).toEqual([-0.25, -0.5, -1]);
  groups.dispose();
});

it('saves and loads all groups under their names', async () => {
  const options = { default: { method: adamW(), rate: 1e-3 }, policy: { method: sgd({ momentum: 0.9 }), rate: 0.5 } };
  const groups = optimiserGroups(points(), options);
  const state = await groups.save();
  expect([...state.keys()].filter((name) => name.startsWith('policy/'))).toEqual(['policy/count/offset/bias', 'policy/0.momentum.trace/offset/bias']);
  await toLeakNothing(() => groups.load(state, 'f'));
  await toRefuse(() => groups.load(new Map([...state, ['critic/count/x', { shape: [1], data: Int32Array.of(0) }]]), 'f'), EspalierError, 'critic/count/x', 'default, policy');
  groups.dispose();
});

it('tells what determines the numbers as plain data', () => {
  const groups = optimiserGroups(points(), {
    default: { method: adamW({ exempt: ({ path }) => path.endsWith('0.ffn.down.gain') }), rate: 1e-3 },
    policy: { method: sgd(), rate: 0.5, schedule: schedule({ warmup: { steps: 3 } }), clip: Infinity },
  });
  expect(groups.settings).toMatchObject({
    default: {
      method: 'adamW', rate: 1e-3,
      chain: [{ name: 'adam', beta1: 0.9, beta2: 0.999, epsilon: 1e-8 }, { name: 'decay', weightDecay: 0.01, exempt: ['scaler/joint.0.ffn.down.gain'] }, { name: 'rate' }],
    },
    policy: { method: 'sgd', schedule: { shape: 'constant', warmup: { steps: 3 }, floor: 0 }, clip: 'Infinity' },
  });
  groups.dispose();
});

it('refuses a group that nothing is in, one without an optimiser, a bad rate, and a model with nothing to train', async () => {
  const method = sgd();
  const all = { default: { method, rate: 1 }, policy: { method, rate: 1 } };
  await toLeakNothing(async () => {
    await toRefuse(() => optimiserGroups(points(), { ...all, polciy: { method, rate: 1 } }), OptionsError, "'polciy'", "Did you mean 'policy'", 'default, policy');
    await toRefuse(() => optimiserGroups(points(), { default: { method, rate: 1 } }), OptionsError, "'policy'", 'optimisers.policy', 'offset/bias');
    await toRefuse(() => optimiserGroups(points(), { ...all, policy: { method, rate: 0 } }), OptionsError, 'optimisers.policy', "'rate'");
    const misspelt: object = { method, rate: 1, shedule: schedule() };
    await toRefuse(() => optimiserGroups(points(), { default: all.default, policy: { method, rate: 1, ...misspelt } }), OptionsError, "'shedule'", "'schedule'");
  });
  const model = tinyOneStream();
  await toRefuse(() => optimiserGroups(adapt(model, []).trainable, {}), EspalierError, 'nothing is trainable');
  model.dispose();
});
