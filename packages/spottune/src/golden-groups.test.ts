import * as tf from '@tensorflow/tfjs';
import { adapt, add, around, definePlugin, finish, matMul, mul, random, reshape, startStep, sub, weight, type Adapted, type Hook, type Host, type LinearPoint, type Plugin, type Value } from '@espalier/core';
import {
  disposeInputs, gradientsOf, jitter, lossOf, takeInputs, tinyModels, tinyOneStream, tinyTwoStream, toBeAllClose, toBeBitEqual, toDiffer,
  type TinyInputs,
} from '@espalier/testing';
import { afterAll, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { forOneTest } from '../fixtures/adapted.ts';
import { givenGates } from '../fixtures/given-gates.ts';
import { commonNoise } from './decide.ts';
import type { options } from './settings.ts';
import { spottune } from './spottune.ts';
import { decisionsOf, gatesOf } from './usage.ts';

/* Golden groups by their numbers, as far as whole models of the kit show them: what a forward pass computes, and the estimator's gradient. */
type Given = z.input<typeof options>;

const { one, two, inputs } = await tinyModels(afterAll);
const { keep, put } = forOneTest();
const inline = (attach: (host: Host) => readonly Hook[]): Plugin => definePlugin({ name: 'inline', version: '0.1.0', hookApi: '1.0', options: z.strictObject({}), attach })();
const outputOf = async (adapted: Adapted<TinyInputs>, given: TinyInputs = inputs): Promise<Float32Array> => {
  const y = await adapted.forward(given);
  const values = y.dataSync<'float32'>().slice();
  y.dispose();
  return values;
};
const sure = (open: boolean): Given['policy'] => ({ kind: 'trunk', prior: open ? 1 - 1e-6 : 1e-6, hidden: 4 });
const drawn = (key: string, length: number) => {
  const generator = random('groups', key);
  return Array.from({ length }, () => (generator.uniform() < 0.5 ? 1 : 0));
};
/** Names of the kernels of a forward pass, in their order. */
const kernels = async (adapted: Adapted<TinyInputs>): Promise<string[]> => {
  const { kernels: all } = await tf.profile(async () => (await adapted.forward(inputs)).dispose());
  return all.map((k) => k.name);
};
/** Copies variables of the same path after the instance's name. */
const share = (from: Adapted<TinyInputs>, to: Adapted<TinyInputs>) => {
  for (const [path, { variable }] of to.parameters) {
    const known = [...from.parameters.values()].find((p) => p.path.slice(p.instance.length) === path.slice(path.indexOf('/')));
    if (known) variable.assign(known.variable);
  }
  return to;
};

describe('1, 2. one branch for all', () => {
  it('the grouped run issues the kernels of the plain model, closed or open', async () => {
    for (const model of [one, two]) {
      const plain = await kernels(put(model, []));
      for (const strategy of ['spottune_block', 'spottune_res', 'spottune'] as const)
        for (const open of [false, true]) {
          const found = await kernels(put(model, [spottune({ strategy, copies: false, policy: { kind: 'global', mixAt: 'output', prior: open ? 0.9 : 0.1 } })]));
          const products = (names: readonly string[]) => names.filter((n) => !['Slice', 'Reshape', 'Identity', 'StridedSlice'].includes(n));
          // The decision comes first: the model's own kernels are the end of the list.
          expect(products(found).slice(-products(plain).length), strategy).toEqual(products(plain));
        }
    }
  });

  it('all open reads no frozen array of a gated block', async () => {
    for (const [build, base] of [[tinyOneStream, one], [tinyTwoStream, two]] as const)
      for (const strategy of ['spottune_block', 'spottune_res', 'spottune'] as const) {
        const model = build();
        keep({ dispose: () => model.dispose() });
        const adapted = put(model, [spottune({ strategy, policy: sure(true) })]);
        const expected = await outputOf(put(base, []));
        for (const [path, tensor] of model.tensors) if (/^(joint|text|vision|cross)\.\d/.test(path)) tensor.dispose(); // reading one throws
        toBeBitEqual(await outputOf(adapted), expected, strategy);
      }
  });
});

describe('6. heads', () => {
  /** Per-sample gates [B, W] over the outputs of query, key and value: the other place where heads can be chosen. */
  const byProjection = (gates: readonly number[][], tunedOf: (at: LinearPoint, part: string) => tf.Tensor): Plugin =>
    inline((host) =>
      host.linears({ role: ['attention.query', 'attention.key', 'attention.value', 'cross.query', 'cross.key', 'cross.value'] }).map((at) => {
        const stage = host.stages({ role: ['attention.heads', 'cross.heads'] }).findIndex((s) => at.path.startsWith(`${s.covers}.`));
        const own = gates.map((row) => row.slice(2 * stage, 2 * stage + 2));
        const choose = (x: Value): Value => {
          const [batch, tokens] = x.shape as [number, number];
          const flat = reshape(x, [-1, at.in]);
          const through = (kernel: Value, bias: Value) => reshape(add(matMul(flat, kernel), bias), [batch, tokens, at.out]);
          const gate = tf.reshape(tf.tile(tf.tensor3d(own.map((row) => row.map((g) => [g]))), [1, 1, at.out / 2]), [batch, 1, at.out]);
          const [yes, no] = [through(tunedOf(at, 'kernel'), tunedOf(at, 'bias')), through(at.pretrained.kernel, at.pretrained.bias!)];
          return add(mul(yes, gate), mul(no, sub(tf.onesLike(gate), gate)));
        };
        return weight(at, (p) => p, { mode: 'replace', activation: choose });
      }),
    );

  it('chosen at the context are heads chosen at query, key and value, sample by sample', async () => {
    for (const model of [one, two]) {
      const gates = gatesOf(put(model, [spottune({ strategy: 'spottune', policy: { kind: 'random' } })]));
      const rows = [0, 1, 2].map((b) => gates.map((g, i) => (g.head === undefined ? 0 : drawn(`${b}`, gates.length)[i]!)));
      const dense = put(model, [givenGates({ strategy: 'spottune' }, rows.flat())]);
      jitter(dense);
      const heads = rows.map((row) => row.filter((_, i) => gates[i]!.head !== undefined));
      const projected = put(model, [byProjection(heads, (at, part) => dense.parameters.get(`given/${at.path}.${part}`)!.variable)]);
      const expected = await outputOf(dense);
      toDiffer(expected, await outputOf(put(model, [])), 1e-3);
      toBeAllClose(await outputOf(projected), expected, { relative: 1e-6 }, model.name);
      toBeAllClose(await outputOf(share(dense, put(model, [givenGates({ strategy: 'spottune' }, rows.flat(), { grouped: true })]))), expected, { relative: 0, absolute: 0 }, model.name);
    }
  });

  it('that all agree are one branch\'s attention', async () => {
    for (const model of [one, two]) {
      const gates = gatesOf(put(model, [spottune({ strategy: 'spottune', policy: { kind: 'random' } })]));
      const row = gates.map((g) => (g.head === undefined ? 0 : 1));
      const grouped = put(model, [givenGates({ strategy: 'spottune' }, [0, 1, 2].flatMap(() => row), { grouped: true })]);
      jitter(grouped);
      const kernelsOf = (at: LinearPoint) => (part: string) => grouped.parameters.get(`given/${at.path}.${part}`)!.variable;
      const attention = inline((host) =>
        host.linears({ role: ['attention.query', 'attention.key', 'attention.value', 'cross.query', 'cross.key', 'cross.value'] })
          .map((at) => weight(at, (p) => ({ ...p, kernel: kernelsOf(at)('kernel'), bias: kernelsOf(at)('bias') }), { mode: 'replace' })),
      );
      toBeBitEqual(await outputOf(grouped), await outputOf(put(model, [attention])), model.name);
    }
  });
});

describe('7. the released forms', () => {
  it('all blocks closed alternate tuned and frozen blocks; a shared feed-forward half is no pretrained model', async () => {
    const zeros = (n: number) => Array.from({ length: 3 * n }, () => 0);
    const coded = put(one, [givenGates({ fidelity: 'reference' }, zeros(2), { grouped: true })]);
    jitter(coded);
    const chain = inline((host) => host.stages({ role: 'block' }).map((at) => around(at, 'edit', (run, s) => run(run(s), { variant: 'pretrained' }))));
    toBeBitEqual(await outputOf(coded), await outputOf(share(coded, put(one, [spottune({ strategy: 'standard' }), chain]))));
    const shared = put(one, [givenGates({ strategy: 'spottune_res', fidelity: 'reference' }, zeros(4), { grouped: true })]);
    jitter(shared);
    toDiffer(await outputOf(shared), await outputOf(put(one, [])), 1e-3);
  });
});

describe('8. the gate map', () => {
  it('gate g is open where the second of the pair 2 g, 2 g + 1 is larger', async () => {
    const adapted = put(two, [spottune({ strategy: 'spottune', policy: { kind: 'global', mixAt: 'output' } })]);
    const { variable } = adapted.parameters.get('spottune/policy.logits')!;
    const count = gatesOf(adapted).length;
    for (const g of [0, 7, count - 1]) {
      tf.tidy(() => variable.assign(tf.tensor1d(Array.from({ length: 2 * count }, (_, i) => (i === 2 * g + 1 ? 1 : i % 2 ? -1 : 0)))));
      expect([...(await decisionsOf(adapted, inputs)).gates.subarray(0, count)]).toEqual(Array.from({ length: count }, (_, i) => (i === g ? 1 : 0)));
    }
  });

  it.each([['one stream', tinyOneStream, () => one], ['two streams', tinyTwoStream, () => two]] as const)('of %s: what a gate chooses, and nothing else, depends on its branch', async (_, build, base) => {
    const model = base();
    const row = takeInputs(inputs, [0]);
    keep({ dispose: () => disposeInputs(row) });
    const gates = gatesOf(put(model, [spottune({ strategy: 'spottune', policy: { kind: 'random' } })]));
    const live = new Set(gatesOf(put(model, [spottune({ strategy: 'spottune', readout: 'cls', policy: { kind: 'random' } })])).map((g) => `${g.path} ${g.head}`));
    const bits = drawn('map', gates.length);
    const adapted = put(model, [givenGates({ strategy: 'spottune' }, bits)]);
    jitter(adapted);
    const expected = await outputOf(adapted, row);
    /** An array of a component, changed where its gate decides: columns of one head, or all. */
    const changed = (t: tf.Tensor, head: number | undefined) =>
      tf.tidy(() => {
        const width = t.shape.at(-1)!;
        const columns = Float32Array.from({ length: width }, (_, c) => (head === undefined || Math.floor(c / (width / 2)) === head ? 0.3 : 0));
        return tf.add(t, tf.tensor(columns, [width]));
      });
    const parts: Readonly<Record<string, RegExp>> = { heads: /^(query|key|value)\./, project: /^(output|norm)\./, expand: /^up\./, contract: /^(down|norm)\./ };
    const isOf = (path: string, stage: string) => {
      const at = stage.lastIndexOf('.');
      return path.startsWith(stage.slice(0, at + 1)) && parts[stage.slice(at + 1)]!.test(path.slice(at + 1));
    };
    for (const [g, { path, head }] of gates.entries()) {
      const own = [...model.tensors.keys()].filter((p) => isOf(p, path));
      expect(own.length, path).toBeGreaterThan(0);
      const reached = live.has(`${path} ${head}`);
      const moves = (after: Float32Array) => after.some((x, i) => x !== expected[i]);
      const tunedOnes = own.map((p) => adapted.parameters.get(`given/${p}`)!.variable);
      const before = tunedOnes.map((v) => v.clone());
      tunedOnes.forEach((v) => tf.tidy(() => v.assign(changed(v, head))));
      expect(moves(await outputOf(adapted, row)), `tuned ${path} ${head}`).toBe(reached && bits[g] === 1);
      tunedOnes.forEach((v, i) => v.assign(before[i]!));
      tf.dispose(before);
      const other = build({ tensors: (p) => (own.includes(p) ? changed(model.tensors.get(p)!, head) : model.tensors.get(p)!.clone()) });
      const frozen = share(adapted, adapt(other, [givenGates({ strategy: 'spottune' }, bits)]));
      expect(moves(await outputOf(frozen, row)), `frozen ${path} ${head}`).toBe(reached && bits[g] === 0);
      frozen.dispose();
      other.dispose();
    }
  });
});

describe('12. straight-through', () => {
  it.each(['spottune_block', 'spottune'] as const)('%s: the gradient is the derivative of the dense run along hard + y(z) - y(z0)', async (strategy) => {
    const step = { training: true, seed: 4, step: 7 };
    for (const model of [one, two]) {
      const adapted = put(model, [spottune({ strategy, temperature: 1, policy: { kind: 'global', mixAt: 'output', prior: 0.45 } })]);
      jitter(adapted);
      const logits = adapted.parameters.get('spottune/policy.logits')!.variable.dataSync<'float32'>().slice();
      const count = logits.length / 2;
      const { gates } = await decisionsOf(adapted, inputs, step);
      const found = (await gradientsOf(adapted, inputs, step)).get('spottune/policy.logits')!;
      const begun = startStep(adapted.plan, inputs, 3, step);
      const noise = commonNoise(begun, 'spottune/gates', 2 * count);
      const g = noise.dataSync<'float32'>().slice();
      noise.dispose();
      finish(begun);
      const y = (z: ArrayLike<number>, i: number) => 1 / (1 + Math.exp(-(z[2 * i + 1]! - z[2 * i]! + g[2 * i + 1]! - g[2 * i]!)));
      const lossAt = async (z: ArrayLike<number>) => {
        const soft = Array.from({ length: 3 * count }, (_, at) => gates[at]! + y(z, at % count) - y(logits, at % count));
        const dense = share(adapted, adapt(model, [givenGates({ strategy }, soft)]));
        const loss = await lossOf(dense, inputs, step);
        dense.dispose();
        return loss;
      };
      const h = 0.05;
      for (let i = 0; i < 2 * count; i += strategy === 'spottune' && model === two ? 7 : 1) {
        const moved = (by: number) => logits.map((x, j) => (j === i ? x + by : x));
        const across = async (by: number) => ((await lossAt(moved(by))) - (await lossAt(moved(-by)))) / (2 * by);
        const difference = (4 * (await across(h)) - (await across(2 * h))) / 3; // of fourth order
        expect(Math.abs(found[i]! - difference), `${model.name} logit ${i}: ${found[i]} for ${difference}`).toBeLessThan(2e-3 * Math.max(...found.map(Math.abs)) + 1e-6);
      }
    }
  });
});
