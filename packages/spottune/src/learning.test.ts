import * as tf from '@tensorflow/tfjs';
import { adapt, evaluate, listed, mul, OptionsError, scale, SelectionError, totalMacs, type Adapted, type Branch, type Streams } from '@espalier/core';
import {
  adapter, disposeInputs, gradientsOf, jitter, tinyModels, tinyInputs, tinyLoss, tinyTwoStream, toBeAllClose, toRefuse, train, useCpu, useOnnx,
  type TinyInputs,
} from '@espalier/testing';
import { afterAll, describe, expect, it } from 'vitest';
import type { z } from 'zod';
import { forOneTest } from '../fixtures/adapted.ts';
import type { BudgetSchema } from './budget-options.ts';
import { connect } from './counterfactual.ts';
import type { options } from './settings.ts';
import { spottune } from './spottune.ts';
import { decisionsOf, gatesOf, globalGates, usageOf } from './usage.ts';

type Given = z.input<typeof options>;

const { one, two, inputs } = await tinyModels(afterAll);
const { put } = forOneTest();
const routed = (given: Given, model = one) => put(model, [spottune(given)]);
const sum = (xs: ArrayLike<number>) => Array.from(xs).reduce((a, b) => a + b, 0);

describe('policies', () => {
  it.each<Given['policy']>([{ kind: 'trunk', prior: 0.7 }, { kind: 'trunk', from: 1, prior: 0.7 }, { kind: 'independent', prior: 0.7 }, { kind: 'global', mixAt: 'output', prior: 0.7 }, { kind: 'global', prior: 0.7 }])('%j starts at its prior, in a group of its own', async (policy) => {
    for (const model of [one, two]) {
      const adapted = routed({ policy }, model);
      const { probabilities, gates } = await decisionsOf(adapted, inputs);
      toBeAllClose(probabilities, Array.from(probabilities, () => 0.7), { relative: 1e-6 });
      expect(new Set(gates)).toEqual(new Set([1]));
      const own = adapted.trainable.filter((p) => p.path.startsWith('spottune/policy.'));
      expect(own.length).toBeGreaterThan(0);
      for (const p of adapted.trainable) expect(p.group).toBe(own.includes(p) ? 'policy' : 'default');
    }
  });

  it('an independent policy takes changes of its configuration and gains of its own', () => {
    const adapted = routed({ policy: { kind: 'independent', visualGain: 0, init: 'xavier' } }, two);
    const values = (path: string) => new Set(adapted.parameters.get(`spottune/policy.${path}`)!.variable.dataSync());
    expect(values('vision.embed.vision.norm.gamma')).toEqual(new Set([0]));
    expect(values('vision.embed.boxes.norm.gamma')).toEqual(new Set([1]));
    expect(values('head.down.kernel').size).toBeGreaterThan(10);
  });

  it('of kind random open gates at their rate, in prediction too', async () => {
    const adapted = routed({ strategy: 'random', policy: { kind: 'random', rate: 0.3 } }, two);
    let open = 0;
    for (let seed = 0; seed < 200; seed++) open += sum((await decisionsOf(adapted, inputs, { seed })).gates);
    expect(Math.abs(open / (200 * 12) - 0.3)).toBeLessThan(4 * Math.sqrt((0.3 * 0.7) / 2400));
    expect([...adapted.parameters.keys()].some((p) => p.includes('policy'))).toBe(false);
  });

  it('learn what the task asks for: with weights that only help, gates open', async () => {
    const adapted = routed({ policy: { kind: 'global', mixAt: 'output', prior: 0.3 }, estimator: 'reinmax', budget: { kind: 'target', rate: 0.95, weight: 20 } });
    const before = sum((await decisionsOf(adapted, inputs)).probabilities);
    await train(adapted, inputs, 30, { rate: 0.3 });
    expect(sum((await decisionsOf(adapted, inputs)).probabilities)).toBeGreaterThan(before + 1.5);
  });
});

describe('gradients of policies', () => {
  const nothing = (y: tf.Tensor): tf.Scalar => tf.tidy(() => tf.mul(0, tf.sum(y)));

  it.each<Given>([
    { policy: { kind: 'trunk', hidden: 6 } }, { policy: { kind: 'independent' } }, { policy: { kind: 'global', mixAt: 'output' } }, { strategy: 'global' },
    { strategy: 'spottune_prefix', policy: { kind: 'trunk', hidden: 6 } }, { strategy: 'spottune', policy: { kind: 'trunk', hidden: 6, from: 1 } },
  ])('%j: of a penalty on probabilities they are its derivative', async (given) => {
    for (const model of [one, two]) {
      const adapted = routed({ ...given, budget: [{ kind: 'target', rate: 0.1, by: 'macs', weight: 5 }, { kind: 'log-fraction', on: 'probabilities' }] }, model);
      jitter(adapted);
      const step = { seed: 2, step: 5 };
      const lossOf = async () => {
        const learned = await adapted.learn(inputs, nothing, step);
        const loss = learned.loss.dataSync()[0]!;
        learned.dispose();
        return loss;
      };
      const learned = await adapted.learn(inputs, nothing, step);
      const policy = adapted.trainable.filter((p) => p.group === 'policy');
      const every = Math.ceil(policy.length / 8); // a model of its own has many: a sample of them will do
      for (const { path, variable } of policy.filter((_, i) => i % every === 0)) {
        const g = learned.gradients.get(path)?.dataSync<'float32'>().slice();
        if (!g || g.every((x) => x === 0)) continue; // rows of tables that no sample reads
        const length = Math.hypot(...g);
        const start = variable.dataSync<'float32'>().slice();
        const at = async (by: number) => {
          tf.tidy(() => variable.assign(tf.tensor(start.map((x, i) => x + (by * g[i]!) / length), variable.shape)));
          return lossOf();
        };
        const difference = ((await at(0.01)) - (await at(-0.01))) / 0.02; // along the gradient: its length
        await at(0);
        expect(Math.abs(difference - length), `${path}: ${difference} for ${length}`).toBeLessThan(0.01 * length + 3e-4);
      }
      learned.dispose();
    }
  });

  it('of the task they go through the hard gate: <dL/dy, T - F> slope, as the dense run differentiates it', async () => {
    const given = { policy: { kind: 'global', mixAt: 'output' } as const, temperature: 0.8 };
    const adapted = routed(given);
    jitter(adapted);
    const learned = await adapted.learn(inputs, tinyLoss, { seed: 6 });
    const found = learned.gradients.get('spottune/policy.logits')!.dataSync();
    learned.dispose();
    // Both logits of a pair move the margin alone.
    expect(found[0]).toBeCloseTo(-found[1]!, 6);
    expect(found[2]).toBeCloseTo(-found[3]!, 6);
    expect(Math.hypot(...found)).toBeGreaterThan(0);
  });
});

describe('16, 17. what is trained', () => {
  it('is what is gated, and all outside of blocks and head if told: those have no frozen twin', async () => {
    const [frozen, free] = [routed({}), routed({ freezeEmbeddings: false, policy: { kind: 'trunk', prior: 1e-6 } })];
    const outside = (adapted: Adapted<TinyInputs>) => [...adapted.parameters.keys()].filter((p) => !/spottune\/(joint\.\d|policy)\b/.test(p));
    expect(outside(frozen)).toEqual([]);
    expect(outside(free)).toContain('spottune/joint.embed.words.table');
    expect(outside(free)).toContain('spottune/head.pooler.kernel');
    expect(outside(free).some((p) => /head\.(up|down|norm)/.test(p))).toBe(false);
    const gradients = await gradientsOf(free, inputs); // all gates are closed
    for (const path of outside(free)) expect(gradients.get(path)?.some((g) => g !== 0), path).toBe(true);
    expect([...gradients.keys()].filter((p) => p.startsWith('spottune/joint.0'))).toEqual([]); // a unit that no sample took is not moved, nor does it decay
  });

  it('is nothing of an instance that is attached as frozen', async () => {
    const adapted = put(one, [spottune({ policy: { kind: 'trunk', prior: 0.9 } }, { trainable: false }), adapter()]);
    const gradients = await gradientsOf(adapted, inputs);
    expect([...gradients.keys()].filter((p) => !p.startsWith('adapter/'))).toEqual([]);
  });
});

describe('budgets while training', () => {
  it.each<z.input<typeof BudgetSchema>>([{ kind: 'target', rate: 0.2, weight: 10 }, { kind: 'lagrangian', rate: 0.2, penalty: 10 }, { kind: 'hinge', rate: 0.2, weight: 3, by: 'macs' }, { kind: 'k', k: 0, weight: 0.5, on: 'probabilities' }])('%j brings usage down', async (budget) => {
    for (const given of [{ strategy: 'spottune' as const, policy: { kind: 'trunk', hidden: 6, prior: 0.8 } as const }, { strategy: 'global' as const }]) {
      const adapted = routed({ ...given, estimator: 'reinmax', budget });
      const rate = async () => sum((await decisionsOf(adapted, inputs)).probabilities) / gatesOf(adapted).length / 3;
      const before = await rate();
      const learned = await adapted.learn(inputs, tinyLoss);
      expect([...learned.losses.keys()]).toEqual(['task', `spottune.${budget.kind}`]);
      learned.dispose();
      await train(adapted, inputs, 25, { rate: 0.2 });
      expect(await rate()).toBeLessThan(before - 0.05);
    }
  });

  it('a capacity holds in every batch, in prediction too', async () => {
    const adapted = routed({ strategy: 'spottune', budget: { kind: 'capacity', share: 0.5 }, policy: { kind: 'trunk', hidden: 6 } }, two);
    jitter(adapted);
    for (const training of [false, true]) {
      const { gates } = await decisionsOf(adapted, inputs, { training });
      const count = gates.length / 3;
      for (let g = 0; g < count; g++) expect(gates[g]! + gates[count + g]! + gates[2 * count + g]!).toBe(2);
    }
  });
});

describe('a score function', () => {
  it('has the gradient (L - b)(a - p) of the log-odds, and a baseline that follows the loss', async () => {
    const adapted = routed({ policy: { kind: 'global', mixAt: 'output', prior: 0.6 }, estimator: 'score' });
    const step = { seed: 3, step: 4 };
    const { gates } = await decisionsOf(adapted, inputs, { training: true, ...step });
    const learned = await adapted.learn(inputs, tinyLoss, step);
    const loss = learned.losses.get('task')!.dataSync()[0]!;
    const expected = [0, 1].flatMap((g) => {
      const d = loss * [0, 1, 2].reduce((total, b) => total + gates[2 * b + g]! - 0.6, 0);
      return [-d, d];
    });
    toBeAllClose(learned.gradients.get('spottune/policy.logits')!, expected, { relative: 1e-5 });
    expect(learned.gradients.get('spottune/policy.baseline')!.dataSync()[0]).toBeCloseTo(-loss, 5);
    learned.dispose();
  });
});

describe('the branch not taken', () => {
  it('evaluated for random rows has the mean of evaluating it for all', () => {
    tf.tidy(() => {
      const [x, y] = [tf.reshape(tf.range(1, 19), [3, 3, 2]), tf.reshape(tf.range(0, 6), [3, 2, 1])];
      const streams: Streams = { x: { hidden: x, mask: tf.zeros([3, 1, 1, 3]) }, y: { hidden: y, mask: tf.zeros([3, 1, 1, 2]) } };
      const by = (n: number): Branch => (s) => ({ x: { ...s['x']!, hidden: scale(s['x']!.hidden, n) }, y: { ...s['y']!, hidden: mul(s['y']!.hidden, s['y']!.hidden) } });
      const [on, off] = [by(3), by(-1)];
      const chosen = [true, false, true];
      const taken = tf.mul(x, tf.tensor3d([3, -1, 3], [3, 1, 1]));
      const selected: Streams = { x: { ...streams['x']!, hidden: taken }, y: { ...streams['y']!, hidden: tf.square(y) } };
      const gradient = (rows: readonly number[], factor: number) =>
        tf.grad((gate) => {
          const out = connect(streams, selected, { gate: tf.reshape(gate, [3, 1]), partition: listed([rows.filter((i) => chosen[i]), rows.filter((i) => !chosen[i]), [0, 1, 2].filter((i) => !rows.includes(i))]), scale: factor, on, off });
          return tf.add(tf.sum(tf.square(evaluate(out['x']!.hidden))), tf.sum(evaluate(out['y']!.hidden)));
        })(tf.tensor2d([[1], [0], [1]])).dataSync();
      const all = gradient([0, 1, 2], 1);
      const expected = tf.sum(tf.mul(tf.mul(tf.mul(2, taken), x), 4), [1, 2]).dataSync();
      toBeAllClose(all, expected, { relative: 1e-6 });
      const q = 0.4;
      const mean = [0, 0, 0];
      for (let set = 0; set < 8; set++) {
        const rows = [0, 1, 2].filter((i) => set & (1 << i));
        gradient(rows, 1 / q).forEach((g, i) => (mean[i]! += g * q ** rows.length * (1 - q) ** (3 - rows.length)));
      }
      toBeAllClose(mean, expected, { relative: 1e-5 });
    });
  });

  it('every M-th step: the policy learns in those only, the rest learns alike', async () => {
    const given = { policy: { kind: 'trunk', hidden: 6 } as const };
    const [always, third] = [routed(given), routed({ ...given, counterfactual: { every: 3 } })];
    jitter(always);
    jitter(third);
    for (const step of [2, 3]) {
      const [a, b] = [await gradientsOf(always, inputs, { step }), await gradientsOf(third, inputs, { step })];
      for (const [path, g] of a) {
        if (!path.includes('/policy.') || step === 3) toBeAllClose(b.get(path)!, g, { relative: 1e-6 }, path);
        else expect((b.get(path) ?? []).every((x) => x === 0), path).toBe(true);
      }
    }
  });
});

describe('usage', () => {
  it('counts gates, decisions, entropy and multiply-adds', async () => {
    const adapted = routed({ strategy: 'spottune' });
    const gates = gatesOf(adapted);
    expect(gates).toHaveLength(2 * (2 + 3));
    expect(gates.slice(0, 5).map((g) => [g.path, g.head])).toEqual([['joint.0.attention.heads', 0], ['joint.0.attention.heads', 1], ['joint.0.attention.project', undefined], ['joint.0.ffn.expand', undefined], ['joint.0.ffn.contract', undefined]]);
    const none = Array.from({ length: 10 }, () => 0);
    const all = Array.from({ length: 10 }, () => 1);
    const usage = usageOf(adapted, [{ samples: ['a', 'b'], gates: Uint8Array.from([...none, ...all]), probabilities: Float32Array.from([...none, ...all]) }], { joint: 9 });
    expect(usage).toMatchObject({ samples: 2, rate: 0.5, open: { mean: 5, deviation: 5 }, policies: 2, entropy: { between: 1, within: 0 } });
    expect(usage.macs).toMatchObject({ mean: usage.macs.all / 2, expected: usage.macs.all / 2, p95: usage.macs.all });
    expect(globalGates({ used: [0.5, 0.51] })).toEqual([0, 1]); // strictly more than half
  });

  it('has the multiply-adds that the executed products are counted with', async () => {
    for (const [model, tokens, blocks] of [[one, { joint: 9 }, /^joint\.\d/], [two, { text: 5, vision: 3 }, /^(text|vision|cross)\.\d/]] as const)
      for (const strategy of ['spottune_block', 'spottune_res', 'spottune'] as const) {
        const adapted = routed({ strategy }, model);
        const rows = await adapted.account(inputs);
        const { macs } = usageOf(adapted, [await decisionsOf(adapted, inputs)], tokens);
        expect(macs.all).toBe(totalMacs(rows, (r) => blocks.test(r.place)));
      }
  });
});

describe('under a backend that records', () => {
  it('training steps are replayed, with the numbers of the plain ones; predictions are grouped', async () => {
    const results: Float32Array[][] = [];
    for (const backend of [useCpu, useOnnx]) {
      await backend();
      const [model, batch] = [tinyTwoStream(), tinyInputs()];
      const adapted = adapt(model, [spottune({ policy: { kind: 'trunk', hidden: 6 }, budget: { kind: 'target', rate: 0.3 } })]);
      jitter(adapted);
      const learner = adapted.learner<undefined>({ loss: (y) => tinyLoss(y) });
      const found: Float32Array[] = [];
      for (let step = 0; step < 3; step++) {
        const lesson = await learner.learn(batch, undefined, { seed: 0, step, samples: ['a', 'b', 'c'] });
        found.push(lesson.scalars.dataSync<'float32'>().slice(0, 3));
        lesson.dispose();
      }
      expect(learner.refused).toBeUndefined();
      expect(learner.last).toBe(backend === useOnnx ? 'replayed' : 'traced');
      const y = await adapted.forward(batch);
      found.push(y.dataSync<'float32'>().slice());
      results.push(found);
      y.dispose();
      learner.dispose();
      adapted.dispose();
      model.dispose();
      disposeInputs(batch);
    }
    await useCpu();
    results[0]!.forEach((expected, i) => toBeAllClose(results[1]![i]!, expected, { relative: 2e-5 }, `result ${i}`));
  });
});

describe('bad options', () => {
  it.each([
    [{ strategy: 'spotune' }, "no strategy 'spotune'. Did you mean"],
    [{ strategy: 'LN' }, 'There are spottune_block'],
    [{ polcy: {} }, "no option 'polcy'. Did you mean 'policy'?"],
    [{ policy: { kind: 'trunk', hiden: 3 } }, 'hiden'],
    [{ strategy: 'last_k' }, 'belong together'],
    [{ strategy: 'spottune', last: 2 }, 'belong together'],
    [{ strategy: 'specific_k' }, 'blocks'],
    [{ strategy: 'standard', policy: { kind: 'trunk' } }, 'decides by itself'],
    [{ strategy: 'global', estimator: 'score' }, "mixAt: 'output'"],
    [{ policy: { kind: 'global', mixAt: 'weight' }, copies: false }, "mixAt 'weight'"],
    [{ strategy: 'frozen', budget: { kind: 'k', k: 2 } }, 'nothing learns'],
    [{ strategy: 'global', budget: { kind: 'capacity', share: 0.5 } }, 'same for all'],
    [{ budget: { kind: 'target', rate: 2 } }, 'budget'],
    [{ temperature: 0 }, 'temperature'],
    [{ strategy: 'spottune_prefix', estimator: 'reinmax' }, "'st-gumbel' and 'score'"],
    [{ strategy: 'spottune_prefix', budget: { kind: 'capacity', share: 0.5 } }, 'use a target'],
  ])('%j is refused: %s', async (given, words) => {
    await toRefuse(() => spottune.from(given), OptionsError, "'spottune'", words);
  });

  it('what the model does not have is refused when attached', async () => {
    await toRefuse(() => routed({ at: { stream: 'text' } }), SelectionError, 'streams joint');
    await toRefuse(() => routed({ strategy: 'last_k', last: 3 }), SelectionError, 'this model has 2 blocks');
    await toRefuse(() => routed({ strategy: 'specific_k', blocks: [5] }), SelectionError, 'names block 5');
    await toRefuse(() => routed({ policy: { kind: 'fixed', gates: [1, 0, 1] } }), OptionsError, 'has 3 gates, this strategy has 2');
  });

  it('the released spellings are names', () => {
    for (const [given, name] of [['SpotTune_Block', 'spottune_block'], ['SpotTune', 'spottune'], ['SpotTune_Res', 'spottune_res'], ['BlockDrop', 'blockdrop'], ['BlockReplace', 'blockreplace'], ['Frozen_Bert', 'frozen'], ['pretrained_frozen', 'frozen']] as const)
      expect(spottune.from({ strategy: given }).options).toMatchObject({ strategy: name });
    expect([...routed({ strategy: 'frozen' }).parameters]).toEqual([]);
    expect(new Set([...routed({ strategy: 'last_k', last: 1 }).parameters.keys()].map((p) => p.slice(0, 16)))).toEqual(new Set(['spottune/joint.1']));
    expect(new Set([...routed({ strategy: 'specific_k', blocks: [1] }).parameters.keys()].map((p) => p.slice(0, 16)))).toEqual(new Set(['spottune/joint.0']));
  });
});
