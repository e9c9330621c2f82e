import * as tf from '@tensorflow/tfjs';
import { adapt, OptionsError, SelectionError, totalMacs } from '@espalier/core';
import { disposeInputs, jitter, testPlugin, tinyInputs, tinyLoss, tinyOneStream, toBeAllClose, toRefuse, train, useCpu, type TinyInputs, type TinyModel } from '@espalier/testing';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { lora } from './lora.ts';

beforeAll(useCpu);

testPlugin(lora, { identityAtStart: true, weightsOnly: true, exactRows: true }, { test: { describe, it }, options: { rank: 3, alpha: 6 } });

describe('lora', () => {
  let model: TinyModel;
  let inputs: TinyInputs;
  beforeAll(async () => {
    await useCpu();
    [model, inputs] = [tinyOneStream(), tinyInputs()];
  });
  afterAll(() => {
    model.dispose();
    disposeInputs(inputs);
  });

  it('is y = x W + (alpha / rank) (x A) B: merged kernels are W + s A B', async () => {
    for (const [options, factor] of [
      [{ rank: 4, alpha: 6 }, 6 / 4],
      [{ rank: 4, alpha: 6, rsLora: true }, 6 / 2],
      [{}, 16 / 8],
    ] as const) {
      const adapted = adapt(model, [lora(options)]);
      jitter(adapted);
      const merged = await adapted.merge();
      for (const [path, w] of model.tensors) {
        const [a, b] = ['a', 'b'].map((name) => adapted.parameters.get(`lora/${path.replace(/\.kernel$/, '')}.${name}`)?.variable);
        const expected = tf.tidy(() => (path.endsWith('.kernel') && a && b ? tf.add(w, tf.mul(tf.matMul(a, b), factor)) : w.clone()));
        toBeAllClose(merged.get(path)!, expected, { relative: 1e-6 }, path);
        expected.dispose();
      }
      tf.dispose([...merged.values()]);
      adapted.dispose();
    }
  });

  it('starts with A uniform within 1 / sqrt(in) and B zero, on query and value', () => {
    const adapted = adapt(model, [lora()]);
    expect([...adapted.parameters.keys()]).toEqual(
      [0, 1].flatMap((i) => ['query', 'value'].flatMap((name) => ['a', 'b'].map((v) => `lora/joint.${i}.attention.${name}.${v}`))),
    );
    for (const [name, { variable }] of adapted.parameters) {
      const values = [...variable.dataSync()];
      if (name.endsWith('.b')) expect(new Set(values)).toEqual(new Set([0]));
      else expect(Math.max(...values.map(Math.abs))).toBeLessThanOrEqual(1 / 4);
      expect(variable.shape).toEqual(name.endsWith('.b') ? [8, 16] : [16, 8]);
    }
    adapted.dispose();
  });

  it('never forms a dense product or kernel gradient while training', async () => {
    const adapted = adapt(model, [lora({ rank: 3 })]);
    const profile = await tf.profile(async () => {
      (await adapted.learn(inputs, tinyLoss, { prefix: false })).dispose();
      return [];
    });
    const products = profile.kernels.filter((k) => k.name === 'BatchMatMul').map((k) => k.outputShapes[0]!.join());
    expect(products.length).toBeGreaterThan(20);
    expect(products.filter((shape) => ['16,16', '1,16,16'].includes(shape))).toEqual([]);
    expect(products).toContain('16,3');
    adapted.dispose();
  });

  it('adds rank (in + out) multiply-adds per token, booked to it', async () => {
    const adapted = adapt(model, [lora({ rank: 3 })]);
    const rows = await adapted.account(inputs);
    expect(totalMacs(rows, (r) => r.instance === 'lora')).toBe(4 * 9 * 3 * (16 + 16));
    adapted.dispose();
  });

  it('learns', async () => {
    const adapted = adapt(model, [lora()]);
    const losses = await train(adapted, inputs, 40, { rate: 0.3 });
    expect(losses.at(-1)).toBeLessThan(0.7 * losses[0]!);
    adapted.dispose();
  });

  it.each([
    [{ rank: 0 }, "'lora' option 'rank'"],
    [{ rnk: 4 }, "no option 'rnk'. Did you mean 'rank'?"],
    [{ bias: 'all' }, "tune({ preset: 'bitfit' })"],
    [{ dropout: 0.1 }, "no option 'dropout'"],
    [{ at: { roles: 'ffn.up' } }, "no option 'at.roles'. Did you mean 'role'?"],
  ])('refuses %j: %s', async (options, words) => {
    await toRefuse(() => lora.from(options), OptionsError, words);
  });

  it('refuses a selection that finds nothing, with the nearest role', async () => {
    await toRefuse(() => adapt(model, [lora.from({ at: { role: 'attention.qurey' } })]), SelectionError, "'lora'", "Did you mean 'attention.query'");
  });
});
