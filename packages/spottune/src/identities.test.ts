import * as tf from '@tensorflow/tfjs';
import { adapt, around, definePlugin, RefusedError, totalMacs, type Adapted, type Hook, type Host, type Plugin } from '@espalier/core';
import {
  adapter, disposeInputs, gradientsOf, jitter, takeInputs, tinyInputs, tinyOneStream, tinyTwoStream, toBeAllClose, toBeBitEqual, toDiffer, toRefuse,
  useCpu, type TinyInputs, type TinyModel,
} from '@espalier/testing';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { forOneTest } from '../fixtures/adapted.ts';
import type { options } from './settings.ts';
import { spottune } from './spottune.ts';
import { decisionsOf } from './usage.ts';

type Given = z.input<typeof options>;

let models: readonly TinyModel[] = [];
let inputs: TinyInputs;
beforeAll(async () => {
  await useCpu();
  models = [tinyOneStream(), tinyTwoStream()];
  inputs = tinyInputs({ lengths: [[5, 3], [3, 2], [4, 1], [2, 3], [5, 1], [4, 2], [3, 3]] });
});
afterAll(() => {
  models.forEach((m) => m.dispose());
  disposeInputs(inputs);
});
const { keep: kept } = forOneTest();
const put = (model: TinyModel, plugins: readonly Plugin[], seed = 0): Adapted<TinyInputs> => kept(adapt(model, plugins, { seed }));

const outputOf = async (adapted: Adapted<TinyInputs>, given: TinyInputs = inputs, step = {}): Promise<Float32Array> => {
  const y = await adapted.forward(given, step);
  const values = y.dataSync<'float32'>().slice();
  y.dispose();
  return values;
};

const KINDS = ['spottune_block', 'spottune_res', 'spottune'] as const;
const each = (): (readonly [string, TinyModel])[] => models.map((m) => [m.name, m] as const);
/** A trunk that is sure: every gate open, or every gate closed. */
const sure = (prior: number): Given['policy'] => ({ kind: 'trunk', prior, hidden: 4 });
const [OPEN, CLOSED] = [1 - 1e-6, 1e-6];
/** A trunk whose decisions differ between samples and gates. */
const undecided = { kind: 'trunk', hidden: 8 } as const;

/** Moves the tuned copies, and unless told otherwise the policy, away from where they start. */
const stirred = (adapted: Adapted<TinyInputs>, keep: (path: string) => boolean = () => true) => {
  const before = new Map([...adapted.parameters].map(([path, { variable }]) => [path, variable.dataSync<'float32'>().slice()]));
  jitter(adapted);
  for (const [path, { variable }] of adapted.parameters) if (!keep(path)) tf.tidy(() => variable.assign(tf.tensor(before.get(path)!, variable.shape)));
  return adapted;
};
const notPolicy = (path: string) => !path.includes('/policy.');

describe('1. all gates closed', () => {
  it.each([...KINDS, 'spottune_prefix' as const])('%s is the pretrained model bit for bit and reads no tuned tensor', async (strategy) => {
    for (const [name, model] of each()) {
      const base = await outputOf(put(model, []));
      const adapted = stirred(put(model, [spottune({ strategy, policy: sure(CLOSED) })]), notPolicy);
      for (const [path, { variable }] of adapted.parameters) if (notPolicy(path)) tf.tidy(() => variable.assign(tf.fill(variable.shape, NaN)));
      toBeBitEqual(await outputOf(adapted), base, name);
      for (const [path, { variable }] of adapted.parameters) if (notPolicy(path)) variable.dispose(); // reading one throws
      toBeBitEqual(await outputOf(adapted), base, name);
    }
  });

  it('the frozen branch drops out while training only if told', async () => {
    const model = kept(tinyOneStream());
    const [calm, live] = [put(model, [spottune({ policy: sure(CLOSED) })]), put(model, [spottune({ policy: sure(CLOSED), frozenDropout: true })])];
    const still = inline((host) => [around(host.stages({ role: 'encoder' })[0]!, 'edit', (run, s) => run(s, { training: false }))]);
    const training = { training: true, seed: 2 };
    toBeBitEqual(await outputOf(calm, inputs, training), await outputOf(put(model, [still]), inputs, training));
    toBeBitEqual(await outputOf(live, inputs, training), await outputOf(put(model, []), inputs, training));
    toDiffer(await outputOf(live, inputs, training), await outputOf(calm, inputs, training));
  });
});

/** A plugin without options, from what it does. */
const inline = (attach: (host: Host) => readonly Hook[]): Plugin => definePlugin({ name: 'inline', version: '0.1.0', hookApi: '1.0', options: z.strictObject({}), attach })();

/** Gives one model's variables what another's hold, where both have them. */
const share = (from: Adapted<TinyInputs>, to: Adapted<TinyInputs>) => {
  for (const [path, { variable }] of to.parameters) if (from.parameters.has(path)) variable.assign(from.parameters.get(path)!.variable);
  return to;
};

describe('2. all gates open', () => {
  it.each([...KINDS, 'spottune_prefix' as const])('%s is ordinary fine-tuning bit for bit, gradients and dropout included', async (strategy) => {
    for (const [name, model] of each()) {
      const standard = stirred(put(model, [spottune({ strategy: 'standard' })]));
      const adapted = share(standard, put(model, [spottune({ strategy, policy: sure(OPEN) })]));
      toBeBitEqual(await outputOf(adapted), await outputOf(standard), name);
      const [expected, found] = [await gradientsOf(standard, inputs, { seed: 4 }), await gradientsOf(adapted, inputs, { seed: 4 })];
      for (const [path, g] of expected) toBeAllClose(found.get(path)!, g, strategy === 'spottune' ? { relative: 1e-6 } : { relative: 0, absolute: 0 }, `${name} ${path}`);
    }
  });

  it('costs a plain forward pass, and the policy outside of it', async () => {
    for (const [name, model] of each()) {
      const blocks = async (plugins: readonly Plugin[]) => totalMacs(await put(model, plugins).account(inputs), (r) => /^(joint|text|vision|cross)\.\d/.test(r.place));
      const base = await blocks([]);
      for (const strategy of KINDS) for (const prior of [OPEN, CLOSED]) expect(await blocks([spottune({ strategy, policy: sure(prior) })]), name).toBe(base);
      expect(await blocks([spottune({ policy: sure(OPEN), executor: 'dense' })])).toBe(2 * base);
    }
  });
});

describe('3. before training', () => {
  it.each(KINDS)('the output of %s does not depend on the policy', async (strategy) => {
    for (const [name, model] of each()) {
      const adapted = stirred(put(model, [spottune({ strategy, policy: undecided })]), (path) => !notPolicy(path));
      const { gates } = await decisionsOf(adapted, inputs);
      expect(new Set(gates).size).toBe(2);
      toBeAllClose(await outputOf(adapted), await outputOf(put(model, [])), { relative: 1e-6 }, name);
    }
  });

  it('but does where the closed branch runs behind the open one', async () => {
    const model = models[0]!;
    const adapted = stirred(put(model, [spottune({ policy: undecided, branchInput: 'sequential' })]), (path) => !notPolicy(path));
    toDiffer(await outputOf(adapted), await outputOf(put(model, [])), 1e-3);
  });
});

describe('4. skipping and replacing', () => {
  it('a block skipped is a block removed', async () => {
    const model = models[0]!;
    for (const [gates, range] of [[[0, 0], [0, 0]], [[1, 0], [0, 1]], [[0, 1], [1, 2]], [[1, 1], [0, 2]]] as const) {
      const dropped = put(model, [spottune({ strategy: 'blockdrop', copies: false, policy: { kind: 'fixed', gates: [...gates] } })]);
      const short = inline((host) => [around(host.stages({ role: 'encoder' })[0]!, 'edit', (run, s) => run(s, { range }))]);
      toBeBitEqual(await outputOf(dropped), await outputOf(put(model, [short])), gates.join());
    }
  });

  it('all blocks kept is ordinary fine-tuning, and closed blocks issue no product', async () => {
    for (const [name, model] of each()) {
      const standard = stirred(put(model, [spottune({ strategy: 'standard' })]));
      const open = share(standard, put(model, [spottune({ strategy: 'blockdrop', policy: sure(OPEN) })]));
      toBeBitEqual(await outputOf(open), await outputOf(standard), name);
      const rows = await put(model, [spottune({ strategy: 'blockdrop', policy: sure(CLOSED) })]).account(inputs);
      expect(totalMacs(rows, (r) => /^(joint|text|vision|cross)\.\d/.test(r.place))).toBe(0);
    }
  });

  it('a replacement of R = 1 and r = 0 is a skip', async () => {
    for (const [name, model] of each()) {
      const dropped = stirred(put(model, [spottune({ strategy: 'blockdrop', policy: undecided })]));
      const replaced = share(dropped, put(model, [spottune({ strategy: 'blockreplace', policy: undecided })]));
      for (const [path, { variable }] of replaced.parameters) {
        if (path.endsWith('.kernel') && path.includes('/replace.')) tf.tidy(() => variable.assign(tf.eye(variable.shape[0]!)));
        else if (path.includes('/replace.')) tf.tidy(() => variable.assign(tf.zeros(variable.shape)));
      }
      toBeAllClose(await outputOf(replaced), await outputOf(dropped), { relative: 1e-6 }, name);
    }
  });
});

describe('5. executors', () => {
  it.each([...KINDS, 'blockdrop', 'blockreplace', 'spottune_prefix'])('%s grouped is dense, for any batch', async (strategy) => {
    for (const [name, model] of each()) {
      const dense = stirred(put(model, [spottune({ strategy, policy: undecided, executor: 'dense' })]));
      const grouped = share(dense, put(model, [spottune({ strategy, policy: undecided })]));
      for (const rows of [[0], [3, 1], [0, 1, 2, 3, 4, 5, 6], [6, 2, 4, 0, 5, 1, 3], [2, 2, 2], Array.from({ length: 16 }, (_, i) => (3 * i) % 7)]) {
        const some = takeInputs(inputs, rows);
        const samples = rows.map((r, i) => `${r}/${i}`);
        toBeAllClose(await outputOf(grouped, some, { samples }), await outputOf(dense, some, { samples }), { relative: 0, absolute: 0 }, `${name} ${rows.join()}`);
        disposeInputs(some);
      }
    }
  });

  it.each([...KINDS, 'blockdrop', 'blockreplace', 'spottune_prefix'])('%s has the gradients of the dense run in the grouped one', async (strategy) => {
    for (const [name, model] of each()) {
      const budget = { kind: 'target', rate: 0.2, by: 'macs' } as const;
      const dense = stirred(put(model, [spottune({ strategy, policy: undecided, executor: 'dense', budget })]));
      const grouped = share(dense, put(model, [spottune({ strategy, policy: undecided, budget })]));
      const [expected, found] = [await gradientsOf(dense, inputs, { seed: 1, step: 2 }), await gradientsOf(grouped, inputs, { seed: 1, step: 2 })];
      for (const [path, g] of expected) {
        const own = found.get(path);
        if (!own) expect(g.every((x) => x === 0), path).toBe(true); // no sample took it
        else toBeAllClose(own, g, { relative: 1e-5, absolute: 1e-7 }, `${name} ${path}`);
      }
    }
  });

  it.each(KINDS)('%s for one sample is plain weights chosen gate by gate', async (strategy) => {
    for (const [name, model] of each())
      for (const row of [0, 3]) {
        const one = takeInputs(inputs, [row]);
        const adapted = stirred(put(model, [spottune({ strategy, policy: undecided })]));
        const { gates } = await decisionsOf(adapted, one);
        const baked = share(adapted, put(model, [spottune({ strategy, policy: { kind: 'fixed', gates: Array.from(gates, (g) => (g ? 1 : 0)) } })]));
        const merged = await baked.merge();
        const plain = kept(name === 'tiny-one-stream' ? tinyOneStream({ tensors: (path) => merged.get(path)! }) : tinyTwoStream({ tensors: (path) => merged.get(path)! }));
        const expected = await outputOf(adapted, one);
        toBeAllClose(await outputOf(baked, one), expected, { relative: 1e-6 }, name);
        toBeAllClose(await outputOf(put(plain, []), one), expected, { relative: 1e-6 }, `${name}, merged`);
        disposeInputs(one);
      }
  });

  it('decisions that depend on the input are not merged, those inside weights are', async () => {
    const model = models[0]!;
    await toRefuse(() => put(model, [spottune()]).merge(), RefusedError, "'spottune'");
    const baked = stirred(put(model, [spottune({ strategy: 'global' })]));
    const { gates } = await decisionsOf(baked, inputs);
    const mask = share(baked, put(model, [spottune({ policy: { kind: 'fixed', gates: Array.from(gates.subarray(0, 2), (g) => (g ? 1 : 0)) } })]));
    toBeAllClose(await outputOf(mask), await outputOf(baked), { relative: 0, absolute: 0 });
    const routed = share(baked, put(model, [spottune({ strategy: 'global', policy: { kind: 'global', mixAt: 'output' } })]));
    toBeAllClose(await outputOf(routed), await outputOf(baked), { relative: 1e-6 });
    for (const t of (await baked.merge()).values()) t.dispose();
  });
});

describe('rows', () => {
  it('draw their gates by their own names, whoever else is in the batch', async () => {
    const adapted = stirred(put(models[1]!, [spottune({ strategy: 'spottune', policy: undecided })]));
    const samples = ['a', 'b', 'c', 'd', 'e', 'f', 'g'];
    const step = { training: true, seed: 5, step: 9 };
    const whole = await decisionsOf(adapted, inputs, { ...step, samples });
    const count = whole.gates.length / 7;
    for (const rows of [[6, 0, 3], [2]]) {
      const some = takeInputs(inputs, rows);
      const part = await decisionsOf(adapted, some, { ...step, samples: rows.map((r) => samples[r]!) });
      expect([...part.gates]).toEqual(rows.flatMap((r) => [...whole.gates.subarray(r * count, (r + 1) * count)]));
      disposeInputs(some);
    }
    expect((await decisionsOf(adapted, inputs, { ...step, step: 10, samples })).gates).not.toEqual(whole.gates);
    expect((await decisionsOf(adapted, inputs)).gates).toEqual((await decisionsOf(adapted, inputs, { seed: 8 })).gates); // no noise in prediction
    const drawing = share(adapted, put(models[1]!, [spottune({ strategy: 'spottune', policy: undecided, evaluation: 'sample' })]));
    expect((await decisionsOf(drawing, inputs)).gates).not.toEqual((await decisionsOf(drawing, inputs, { seed: 8 })).gates);
  });

  it('the temperature changes no decision', async () => {
    const gates = [];
    for (const temperature of [0.1, 5]) gates.push((await decisionsOf(stirred(put(models[0]!, [spottune({ policy: undecided, temperature })])), inputs, { training: true })).gates);
    expect(gates[0]).toEqual(gates[1]);
  });
});

describe('without copies', () => {
  it('samples choose between what the other plugins make of a block and the pretrained one', async () => {
    for (const [name, model] of each()) {
      const open = put(model, [spottune({ copies: false, policy: sure(OPEN) }), adapter()]);
      const closed = put(model, [spottune({ copies: false, policy: sure(CLOSED) }), adapter()]);
      toBeBitEqual(await outputOf(open), await outputOf(put(model, [adapter()])), name);
      toBeBitEqual(await outputOf(closed), await outputOf(put(model, [])), name);
      expect([...open.parameters.keys()].filter((p) => p.startsWith('spottune/') && notPolicy(p))).toEqual([]);
    }
  });
});
