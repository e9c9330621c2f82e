import * as tf from '@tensorflow/tfjs';
import { adapt, EspalierError, RefusedError, type Adapted, type Plugin } from '@espalier/core';
import { jitter, scaler, tinyOneStream, tinyTwoStream, toBeAllClose, toBeBitEqual, toLeakNothing, toRefuse, useCpu, type TinyInputs, type TinyModel } from '@espalier/testing';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { gift } from './gift.ts';
import { inverse } from './inverse.ts';
import { unmerge } from './unmerge.ts';

const models: TinyModel[] = [];
beforeAll(async () => {
  await useCpu();
  models.push(tinyOneStream(), tinyTwoStream());
});
afterAll(() => models.forEach((m) => m.dispose()));

const held: Adapted<TinyInputs>[] = [];
afterEach(() => held.splice(0).forEach((x) => x.dispose()));
const put = (model: TinyModel, ...plugins: Plugin[]) => {
  const adapted = adapt(model, plugins);
  held.push(adapted);
  jitter(adapted);
  return adapted;
};

describe('T3: unmerging', () => {
  it.each([{}, { sharing: 'site' }, { inBias: true, outBias: true }, { at: { role: ['ffn.up', 'ffn.down', 'attention.query'] } }] as const)('gives the base back: %j', async (options) => {
    for (const model of models) {
      const adapted = put(model, gift.from({ rank: 4, ...options }));
      await toLeakNothing(async () => {
        const merged = await adapted.merge();
        const base = await unmerge(adapted, merged);
        expect([...base.keys()].sort()).toEqual([...model.tensors.keys()].sort());
        for (const [path, w] of model.tensors) toBeAllClose(base.get(path)!, w, { relative: 1e-4 }, path);
        tf.dispose([...merged.values(), ...base.values()]);
      });
    }
  });

  it('leaves alone what other plugins made elsewhere', async () => {
    const adapted = put(models[0]!, gift({ rank: 4 }, { as: 'a' }), scaler());
    const merged = await adapted.merge();
    const base = await unmerge(adapted, merged, { instance: 'gift#a' });
    toBeBitEqual(base.get('joint.0.ffn.down.kernel')!, merged.get('joint.0.ffn.down.kernel')!);
    toBeAllClose(base.get('joint.0.attention.output.kernel')!, models[0]!.tensors.get('joint.0.attention.output.kernel')!, { relative: 1e-4 });
    tf.dispose([...merged.values(), ...base.values()]);
  });

  it('refuses what has no inverse, or is not all its own', async () => {
    const [model] = models as [TinyModel];
    const refuse = async (adapted: Adapted<TinyInputs>, ...words: string[]) => {
      const merged = await adapted.merge();
      await toRefuse(() => unmerge(adapted, merged), RefusedError, "'gift' cannot be unmerged", ...words);
      tf.dispose([...merged.values()]);
    };
    await refuse(put(model, gift({ rank: 4, generator: 'mlp' })), "generator 'mlp'");
    await refuse(put(model, gift({ rank: 4, activation: 'gelu' })), "activation 'gelu'");
    await refuse(put(model, scaler(), gift({ rank: 4, at: { role: 'attention.value' } })), "'scaler' acts on 'joint.0.attention.value' too");
    const singular = put(model, gift({ rank: 1 }));
    for (const [name, { variable }] of singular.parameters) variable.assign(tf.fill(variable.shape, name.endsWith('phi') ? 0.25 : -0.25)); // psi phi = -1
    await refuse(singular, 'singular');
  });

  it('refuses names that are not there', async () => {
    const adapted = put(models[0]!, gift({ rank: 4 }, { as: 'a' }));
    await toRefuse(() => unmerge(adapted, new Map()), EspalierError, "no gift 'gift' here", 'gift#a');
    await toRefuse(() => unmerge(adapted, new Map(), { instance: 'gift#a' }), EspalierError, "'joint.0.attention.output.kernel' is missing");
  });
});

describe('inverse', () => {
  it('of a matrix that needs its rows swapped, and of none', () => {
    const a = [[0, 2, 1], [1, 0, 0], [3, 1, 4]];
    const b = inverse(a)!;
    a.forEach((row, i) => b.forEach((_, j) => expect(row.reduce((s, x, k) => s + x * b[k]![j]!, 0)).toBeCloseTo(i === j ? 1 : 0, 12)));
    expect(inverse([[1, 2], [2, 4]])).toBeUndefined();
    expect(inverse([[0]])).toBeUndefined();
  });
});
