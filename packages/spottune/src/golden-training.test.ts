import * as tf from '@tensorflow/tfjs';
import { Account, around, CheckpointError, definePlugin, listed, load, save, totalMacs, type Adapted, type Branch, type Hook, type Host, type Plugin, type Streams } from '@espalier/core';
import {
  disposeInputs, gradientsOf, jitter, lossOf, memoryStore, snapshot, tinyInputs, tinyLoss, tinyModels, tinyOneStream, toBeAllClose, toBeBitEqual, toDiffer, toLeakNothing, toRefuse, train,
  type TinyInputs,
} from '@espalier/testing';
import { afterAll, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { forOneTest } from '../fixtures/adapted.ts';
import { givenGates } from '../fixtures/given-gates.ts';
import { connect } from './counterfactual.ts';
import { mixed } from './mixing.ts';
import { options, settingsOf } from './settings.ts';
import { spottune } from './spottune.ts';
import { unitsOf } from './units.ts';
import { decisionsOf, globalGates, usageOf, type Decisions } from './usage.ts';

/* Golden groups by their numbers: training, state, memory and cost. */
type Given = z.input<typeof options>;

const { one, two, inputs } = await tinyModels(afterAll);
const ten = tinyInputs({ lengths: Array.from({ length: 10 }, () => [5, 3] as const) });
afterAll(() => disposeInputs(ten));
const { keep, put } = forOneTest();
const inline = (attach: (host: Host) => readonly Hook[]): Plugin => definePlugin({ name: 'inline', version: '0.1.0', hookApi: '1.0', options: z.strictObject({}), attach })();
const outputOf = async (adapted: Adapted<TinyInputs>, given: TinyInputs = inputs, step = {}): Promise<Float32Array> => {
  const y = await adapted.forward(given, step);
  const values = y.dataSync<'float32'>().slice();
  y.dispose();
  return values;
};
const undecided = { kind: 'trunk', hidden: 8 } as const;
const sure = (open: boolean): Given['policy'] => ({ kind: 'trunk', prior: open ? 1 - 1e-6 : 1e-6, hidden: 4 });

describe('14. schemes', () => {
  it('A: evaluated in the backward pass, the branch not taken gives what it gives when stored', () => {
    tf.tidy(() => {
      const x: Streams = { x: { hidden: tf.randomNormal([4, 3, 2], 0, 1, 'float32', 5), mask: tf.zeros([4, 1, 1, 3]) } };
      const through = (f: (h: tf.Tensor) => tf.Tensor): Branch => (s) => ({ x: { ...s['x']!, hidden: f(s['x']!.hidden as tf.Tensor) } });
      const [on, off] = [through((h) => tf.tanh(tf.mul(h, 1.7))), through((h) => tf.add(tf.square(h), 0.3))];
      const chosen = [true, false, false, true];
      const gate = tf.tensor2d(chosen.map((c) => [c ? 1 : 0]));
      const [yes, no] = [on(x)['x']!.hidden as tf.Tensor, off(x)['x']!.hidden as tf.Tensor];
      const selected = tf.where(tf.reshape(tf.cast(gate, 'bool'), [4, 1, 1]), yes, no);
      const difference = tf.sub(yes, no); // D
      const stored = tf.customGrad((...args) => {
        const [y, , save] = args as [tf.Tensor, tf.Tensor, tf.GradSaveFunc];
        save([difference]);
        return { value: y.clone(), gradFunc: (dy: tf.Tensor, [d]: tf.Tensor[]) => [dy, tf.reshape(tf.sum(tf.mul(dy, d!), [1, 2]), [4, 1])] };
      });
      const loss = (y: tf.Tensor): tf.Scalar => tf.sum(tf.sin(tf.mul(y, 2)));
      const lazy = tf.grad((a) => loss(connect(x, { x: { ...x['x']!, hidden: selected } }, { gate: a as tf.Tensor2D, partition: listed([[0, 3], [1, 2]]), scale: 1, on, off })['x']!.hidden as tf.Tensor))(gate);
      toBeAllClose(lazy, tf.grad((a) => loss(stored(selected, a)))(gate), { relative: 1e-6 });
    });
  });

  it('C of every step is A, bit for bit; of every fourth it is A in those', async () => {
    const runs = [{}, { counterfactual: { every: 1 } }, { counterfactual: { every: 4 } }].map((given) => put(two, [spottune({ policy: undecided, ...given })]));
    runs.forEach((r) => jitter(r));
    for (const step of [0, 3, 8]) {
      const [a, every, fourth] = await Promise.all(runs.map((r) => gradientsOf(r, inputs, { step })));
      for (const [path, g] of a!) toBeBitEqual(every!.get(path)!, g, path);
      const policy = [...a!].filter(([path]) => path.includes('/policy.'));
      expect(policy.some(([, g]) => g.some((x) => x !== 0))).toBe(true);
      for (const [path, g] of policy) if (step % 4 === 0) toBeBitEqual(fourth!.get(path)!, g, path);
    }
  });
});

describe('15. gates inside weights', () => {
  it('have the gradient <dL/dW, T - F>, that of a difference in alpha', async () => {
    const settings = settingsOf(options.parse({ strategy: 'spottune' }));
    const start = [0.3, 0.8, 0.5, 0.1, 0.9];
    for (const model of [one, two]) {
      const alphas = inline((host) =>
        unitsOf(host.model.scope.points, settings).flatMap((unit) => {
          const alpha = host.variable(`alpha.${unit.stage.path}`, [unit.width], () => Float32Array.from({ length: unit.width }, (_, w) => start[(unit.first + w) % 5]!));
          return unit.weights.map((w) => mixed(host, w, unit, (_, step) => step.read(alpha) as tf.Tensor));
        }),
      );
      const adapted = put(model, [alphas]);
      jitter(adapted);
      const gradients = await gradientsOf(adapted, inputs);
      // The same weights, tuned as they are: dL/dW.
      const merged = await adapted.merge();
      const plain = put(model, [spottune({ strategy: 'standard' })]);
      for (const [path, { variable }] of plain.parameters) variable.assign(merged.get(path.slice('spottune/'.length))!);
      const weights = await gradientsOf(plain, inputs);
      tf.dispose([...merged.values()]);
      for (const unit of unitsOf(model.scope.points, settings)) {
        const path = `inline/alpha.${unit.stage.path}`;
        const { variable } = adapted.parameters.get(path)!;
        const found = gradients.get(path);
        if (!found) continue; // of the last block's unread half
        const values = variable.dataSync<'float32'>().slice();
        for (let w = 0; w < unit.width; w++) {
          const at = async (by: number) => {
            tf.tidy(() => variable.assign(tf.tensor1d(values.map((x, i) => (i === w ? x + by : x)))));
            return lossOf(adapted, inputs, { training: true });
          };
          const across = async (h: number) => ((await at(h)) - (await at(-h))) / (2 * h);
          const difference = (4 * (await across(0.01)) - (await across(0.02))) / 3;
          expect(Math.abs(found[w]! - difference), `${path} ${w}: ${found[w]} for ${difference}`).toBeLessThan(2e-3 * Math.abs(difference) + 2e-5);
        }
        variable.assign(tf.tidy(() => tf.tensor1d(values)));
        const product = unit.weights.flatMap((at) => Object.entries(at.pretrained).flatMap(([part, frozen]) => {
          const g = weights.get(`spottune/${at.path}.${part}`);
          return g && frozen instanceof tf.Tensor ? [{ g, frozen, own: adapted.parameters.get(`inline/${at.path}.${part}`)!.variable }] : [];
        })).reduce((sum, { g, frozen, own }) => sum + tf.tidy(() => tf.sum(tf.mul(tf.tensor(g, frozen.shape), tf.sub(own, frozen))).dataSync()[0]!), 0);
        expect(Math.abs(found.reduce((a, b) => a + b, 0) - product), path).toBeLessThan(1e-4 * Math.abs(product) + 1e-6);
      }
    }
  });
});

describe('16. a step', () => {
  it('moves the tuned copies, norms and biases too, and the policy; nothing frozen, which no optimiser is told of', async () => {
    for (const model of [one, two]) {
      const adapted = put(model, [spottune({ policy: { kind: 'trunk', hidden: 6, prior: 0.8 }, estimator: 'reinmax' })]);
      const frozen = await adapted.fingerprint();
      const arrays = new Set<tf.Tensor>(model.tensors.values());
      expect(adapted.trainable.some((p) => arrays.has(p.variable) || /embed|head/.test(p.path))).toBe(false);
      const before = snapshot(adapted);
      await train(adapted, inputs, 2);
      expect(await adapted.fingerprint()).toBe(frozen);
      const moved = (path: string) => adapted.parameters.get(path)!.variable.dataSync().some((x, i) => x !== before.get(path)![i]);
      for (const part of ['ffn.norm.gamma', 'ffn.norm.beta', 'ffn.up.bias', 'attention.output.kernel']) expect([...before.keys()].some((p) => p.endsWith(part) && moved(p)), part).toBe(true);
      expect(moved('spottune/policy.down.bias')).toBe(true);
    }
  });
});

describe('18. state', () => {
  it('a policy, its baseline and multiplier come back, and the frozen branch is not made of the tuned one', async () => {
    const given: Given = { policy: { kind: 'trunk', hidden: 6 }, estimator: 'score', budget: { kind: 'lagrangian', rate: 0.4 } };
    const adapted = put(two, [spottune(given)]);
    await train(adapted, inputs, 4);
    const store = memoryStore();
    await save(adapted, store, { config: null });
    const again = await load(two, store, { resolve: async () => spottune });
    keep(again);
    expect([...again.parameters.keys()].filter((p) => /policy\.(down\.kernel|baseline)|multiplier/.test(p))).toHaveLength(3);
    for (const [path, values] of snapshot(adapted)) toBeBitEqual(again.parameters.get(path)!.variable.dataSync(), values, path);
    for (const step of [{}, { training: true, seed: 3, step: 5 }]) {
      toBeBitEqual(await outputOf(again, inputs, step), await outputOf(adapted, inputs, step));
      expect((await decisionsOf(again, inputs, step)).gates).toEqual((await decisionsOf(adapted, inputs, step)).gates);
    }
    const tuned = again.parameters.get('spottune/text.0.ffn.up.kernel')!.variable;
    toDiffer(tuned, two.tensors.get('text.0.ffn.up.kernel')!);
    const frozen = put(two, [spottune({ strategy: 'frozen' })]);
    const before = await outputOf(frozen);
    tf.tidy(() => tuned.assign(tf.fill(tuned.shape, 9)));
    toBeBitEqual(await outputOf(frozen), before);
    const other = tinyOneStream({ seed: 1 });
    keep(other);
    await toRefuse(() => load(other, store, { resolve: async () => spottune }), CheckpointError);
  });
});

describe('20. one decision for all', () => {
  it('is what more than half of the training decisions open, the same for every row, and merges', async () => {
    const adapted = put(two, [spottune({ policy: undecided })]);
    jitter(adapted);
    const drawn: Decisions[] = [];
    for (let step = 0; step < 5; step++) drawn.push(await decisionsOf(adapted, inputs, { training: true, step }));
    const count = drawn[0]!.gates.length / 3;
    const means = Array.from({ length: count }, (_, g) => drawn.reduce((sum, d) => sum + d.gates[g]! + d.gates[count + g]! + d.gates[2 * count + g]!, 0) / 15);
    const gates = globalGates(usageOf(adapted, drawn, { text: 5, vision: 3 }));
    expect(gates).toEqual(means.map((m) => (m > 0.5 ? 1 : 0)));
    expect(new Set(gates).size).toBe(2);
    const fixed = put(two, [spottune({ policy: { kind: 'fixed', gates } })]);
    for (const [path, { variable }] of fixed.parameters) variable.assign(adapted.parameters.get(path)!.variable);
    const all = await decisionsOf(fixed, inputs);
    for (let b = 0; b < 3; b++) expect([...all.gates.subarray(b * count, (b + 1) * count)]).toEqual(gates);
    const routed = put(two, [givenGates({}, [...gates, ...gates, ...gates], { grouped: true })]);
    for (const [path, { variable }] of routed.parameters) variable.assign(adapted.parameters.get(path.replace('given/', 'spottune/'))!.variable);
    toBeBitEqual(await outputOf(fixed), await outputOf(routed));
    const merged = await fixed.merge();
    const plain = put(two, [spottune({ strategy: 'standard' })]);
    for (const [path, { variable }] of plain.parameters) variable.assign(merged.get(path.slice('spottune/'.length))!);
    tf.dispose([...merged.values()]);
    toBeBitEqual(await outputOf(plain), await outputOf(fixed));
  });

  it('by majority: open is what more than half of the draws open', async () => {
    const draws = await Promise.all([1, 5].map((majority) => decisionsOf(put(one, [spottune({ policy: { kind: 'trunk', prior: 0.8, hidden: 4 }, evaluation: { majority } })]), ten)));
    const sampled = await decisionsOf(put(one, [spottune({ policy: { kind: 'trunk', prior: 0.8, hidden: 4 }, evaluation: 'sample' })]), ten);
    expect(draws[0]!.gates).toEqual(sampled.gates);
    const many = put(one, [spottune({ policy: { kind: 'trunk', prior: 0.8, hidden: 4 }, evaluation: { majority: 101 } })]);
    expect([...(await decisionsOf(many, ten)).gates]).toEqual(Array.from({ length: 20 }, () => 1)); // 0.8 against a half, 101 times
    const mean = (d: Decisions) => d.gates.reduce((a, b) => a + b, 0) / d.gates.length;
    expect(mean(sampled)).toBeLessThan(1);
    expect(mean(draws[1]!)).toBeGreaterThanOrEqual(mean(sampled));
    const inWeights = put(one, [spottune({ strategy: 'global', policy: { kind: 'global', prior: 0.8 }, evaluation: { majority: 101 } })]);
    const open = put(one, [spottune({ strategy: 'standard' })]);
    jitter(open);
    for (const [path, { variable }] of open.parameters) inWeights.parameters.get(path)!.variable.assign(variable);
    toBeBitEqual(await outputOf(inWeights), await outputOf(open));
  });
});

const peak = async (f: () => Promise<unknown>): Promise<number> => {
  const before = tf.memory().numBytes;
  const { peakBytes } = await tf.profile(async () => {
    await f();
    return tf.scalar(0);
  });
  return peakBytes - before;
};

describe('22. memory', () => {
  it.each<Given>([
    { policy: undecided }, { strategy: 'spottune', policy: undecided }, { strategy: 'spottune_prefix', policy: undecided, estimator: 'score' }, { strategy: 'blockdrop', policy: undecided },
    { policy: { kind: 'independent' }, executor: 'dense' }, { strategy: 'global', budget: { kind: 'lagrangian', rate: 0.3 } }, { policy: undecided, evaluation: { majority: 3 } },
  ])('%j leaves nothing behind', async (given) => {
    const adapted = put(two, [spottune(given)]);
    for (let step = 0; step < 2; step++)
      await toLeakNothing(async () => {
        (await adapted.learn(inputs, tinyLoss, { step })).dispose();
        (await adapted.forward(inputs)).dispose();
        await decisionsOf(adapted, inputs, { training: true, step });
      });
  });

  it('at its peak a training step of scheme A holds at most 1.2 times what standard fine-tuning does; on the tape both branches hold more', async () => {
    const step = async (plugin: Plugin) => {
      const adapted = put(one, [plugin]);
      return peak(async () => (await adapted.learn(ten, tinyLoss)).dispose());
    };
    const half = Array.from({ length: 10 }, (_, b) => [b % 2, (b + 1) % 2]).flat();
    const standard = await step(spottune({ strategy: 'standard' }));
    expect((await step(givenGates({}, half, { grouped: true }))) / standard).toBeLessThan(1.2);
    expect((await step(givenGates({}, half))) / standard).toBeGreaterThan(1.4);
  });

  it('a dropped block issues no kernel', async () => {
    const kernels = async (plugins: readonly Plugin[]) => {
      const adapted = put(one, plugins);
      const { kernels: all } = await tf.profile(async () => (await adapted.forward(inputs)).dispose());
      return all.length;
    };
    const without = inline((host) => host.stages({ role: 'encoder' }).map((at) => around(at, 'edit', (run, s) => run(s, { range: [0, 0] }))));
    const blocks = (await kernels([])) - (await kernels([without]));
    const drop = (open: boolean) => kernels([spottune({ strategy: 'blockdrop', policy: sure(open) })]);
    expect(blocks).toBeGreaterThan(20);
    expect((await drop(true)) - (await drop(false))).toBe(blocks);
  });
});

describe('23. cost', () => {
  const shares = [0, 0.3, 0.5, 0.8, 1];
  const at = (p: number) => Array.from({ length: 10 }, (_, b) => [b < 10 * p ? 1 : 0, b >= 10 * (1 - p) ? 1 : 0]).flat();
  const outside = inline((host) => host.stages({ role: 'encoder' }).map((at) => around(at, 'edit', (run, s) => run(s, { range: [0, 0] }))));
  /** Multiply-adds inside of blocks, in units of their forward pass. */
  const forward = async (plugin: Plugin) => totalMacs(await put(one, [plugin]).account(ten), (r) => /^joint\.\d/.test(r.place));
  const learning = async (plugins: readonly Plugin[]) => {
    const adapted = put(one, plugins);
    return totalMacs(await Account.of(10, async () => (await adapted.learn(ten, tinyLoss, { step: 1 })).dispose()));
  };

  // Products of attention have two gradients in a frozen block too, of which the table of ratios takes no notice.
  const extra = (2 * 9 * 9 * 16) / (4 * 9 * 16 * 16 + 2 * 9 * 9 * 16 + 2 * 9 * 16 * 32);

  it('of a training step: standard 3, A 3 + p, without counterfactuals 2 + p, both branches 5; dropping 1 + 2 u and 3 u', async () => {
    const unit = await forward(spottune({ strategy: 'standard' }));
    const all = { surroundings: true } as const; // so that gradients reach the first block's input
    const rest = await learning([spottune({ strategy: 'standard', freezeEmbeddings: false }), outside]);
    const cost = async (plugin: Plugin) => ((await learning([plugin])) - rest) / unit;
    expect(await cost(spottune({ strategy: 'standard', freezeEmbeddings: false }))).toBeCloseTo(3, 6);
    expect(await cost(givenGates({}, at(0.5), all))).toBeCloseTo(5 + extra, 6);
    for (const p of shares) {
      expect(await cost(givenGates({}, at(p), { ...all, grouped: true })), `A, ${p}`).toBeCloseTo(3 + p + extra * (1 - p), 6);
      expect(await cost(givenGates({ counterfactual: { every: 4 } }, at(p), { ...all, grouped: true })), `C, ${p}`).toBeCloseTo(2 + p + extra * (1 - p), 6);
      expect(await cost(givenGates({ strategy: 'blockdrop' }, at(p), { ...all, grouped: true })), `drop, ${p}`).toBeCloseTo(1 + 2 * p, 6);
      expect(await cost(givenGates({ strategy: 'blockdrop', counterfactual: { every: 4 } }, at(p), { ...all, grouped: true })), `drop C, ${p}`).toBeCloseTo(3 * p, 6);
    }
  });

  it('of a prediction: 1 whoever is open, u when dropping, 2 for both branches', async () => {
    const unit = await forward(spottune({ strategy: 'standard' }));
    for (const p of shares) {
      expect((await forward(givenGates({}, at(p), { grouped: true }))) / unit).toBeCloseTo(1, 9);
      expect((await forward(givenGates({ strategy: 'blockdrop' }, at(p), { grouped: true }))) / unit).toBeCloseTo(p, 9);
      expect((await forward(givenGates({}, at(p)))) / unit).toBeCloseTo(2, 9);
    }
  });

  it('sample by sample: spent is what a sample chose, expected what its probabilities say', async () => {
    for (const [model, tokens] of [[one, { joint: 9 }], [two, { text: 5, vision: 3 }]] as const) {
      const adapted = put(model, [spottune({ strategy: 'blockdrop', policy: { kind: 'trunk', prior: 0.6, hidden: 6 }, evaluation: 'sample' })]);
      jitter(adapted, { deviation: 0.5 });
      const inside = (await adapted.account(inputs)).filter((r) => /^(joint|text|vision|cross)\.\d/.test(r.place));
      const of = (part: 'spent' | 'expected') => [0, 1, 2].map((b) => inside.reduce((sum, r) => sum + r[part][b]!, 0));
      const decisions = await decisionsOf(adapted, inputs);
      const each = (b: number) => {
        const count = decisions.gates.length / 3;
        const [gates, probabilities] = [decisions.gates.subarray(b * count, (b + 1) * count), decisions.probabilities.subarray(b * count, (b + 1) * count)];
        return usageOf(adapted, [{ samples: ['x'], gates, probabilities }], tokens).macs;
      };
      toBeAllClose(of('spent'), [0, 1, 2].map((b) => each(b).mean), { relative: 1e-9 }, 'spent');
      toBeAllClose(of('expected'), [0, 1, 2].map((b) => each(b).expected), { relative: 1e-6 }, 'expected');
      toDiffer(of('spent'), of('expected'), 10);
    }
  });
});
