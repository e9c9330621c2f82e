import * as tf from '@tensorflow/tfjs';
import { adapt, finish, primal, tangentOf, tensorsIn, type Adapted, type Plugin } from '@espalier/core';
import { gift } from '@espalier/gift';
import { lora } from '@espalier/lora';
import { spottune } from '@espalier/spottune';
import { tangent } from '@espalier/tangent';
import { jitter, snapshot, tinyModels, toBeAllClose, toBeBitEqual, type TinyInputs } from '@espalier/testing';
import { tune } from '@espalier/tune';
import { disposeModel } from '@espalier/vl-models';
import { afterAll, describe, expect, it } from 'vitest';
import { tinyTask } from './tiny-task.ts';

const { one, two, inputs } = await tinyModels(afterAll);

/** f(x; w) and J D, apart. */
async function dualOf(adapted: Adapted<TinyInputs>): Promise<{ value: Float32Array; derivative: Float32Array }> {
  const step = await adapted.start(inputs, {});
  const found = tf.tidy(() => {
    const y = adapted.model.forward(inputs, step);
    return { value: primal(y).dataSync<'float32'>().slice(), derivative: tangentOf(y)?.dataSync<'float32'>().slice() };
  });
  finish(step);
  return { value: found.value, derivative: found.derivative ?? new Float32Array(found.value.length) };
}

const set = (adapted: Adapted<TinyInputs>, values: (path: string) => Float32Array) => {
  for (const [path, { variable }] of adapted.parameters) tf.tidy(() => variable.assign(tf.tensor(values(path), variable.shape)));
};

describe.each([['one stream', one], ['two streams', two]] as const)('tangents beside frozen plugins, %s', (_, model) => {
  it.each([
    ['a frozen LoRA', () => [lora({ rank: 2 }, { trainable: false })], ['lora']],
    ['a frozen GIFT', () => [gift({ rank: 3 }, { trainable: false })], ['gift']],
    ['a frozen new head', () => [tune({ preset: 'head', answers: 7 }, { as: 'head', trainable: false })], ['tune#head']],
    ['a frozen SpotTune', () => [spottune({ policy: { kind: 'global' } }, { trainable: false })], ['spottune']],
  ] as const)('is affine about %s, whose variables can be linearised instead of weights', async (_name, base: () => Plugin[], of) => {
    for (const options of [{ of, places: false }, { lastK: 1 }]) {
      const adapted = adapt(model, [...base(), tangent(options)]);
      const own = [...adapted.parameters.values()].filter((p) => p.instance === 'tangent');
      // The base is moved once, away from where it starts; then only tangents move.
      jitter(adapted, { seed: 9, deviation: 0.1 });
      const start = snapshot(adapted);
      const put = (by: number) => set(adapted, (path) => (path.startsWith('tangent/') ? start.get(path)!.map((x) => by * x) : start.get(path)!));
      put(0);
      const zero = await dualOf(adapted);
      expect(Math.max(...zero.derivative.map(Math.abs))).toBe(0);
      put(1);
      const first = await dualOf(adapted);
      put(-2);
      const second = await dualOf(adapted);
      expect(Math.max(...first.derivative.map(Math.abs))).toBeGreaterThan(1e-3);
      toBeAllClose(second.derivative, first.derivative.map((x) => -2 * x), { relative: 5e-6 }, 'J (-2 D)');
      toBeBitEqual(second.value, zero.value, 'f(x; w)');
      if (!('of' in options)) continue;
      // Against differences of the plugin's own variables.
      const moved = async (h: number) => {
        set(adapted, (path) => {
          const d = start.get(`tangent/${path}`);
          return path.startsWith('tangent/') ? start.get(path)!.map(() => 0) : start.get(path)!.map((x, i) => x + (d ? h * d[i]! : 0));
        });
        return (await dualOf(adapted)).value;
      };
      const [above, below] = [await moved(0.01), await moved(-0.01)];
      toBeAllClose(above.map((v, i) => (v - below[i]!) / 0.02), first.derivative, { relative: 5e-3, absolute: 2e-4 }, 'differences');
      expect(own.map((p) => p.path.split('/')[1])).toEqual(own.map(() => of[0]));
      adapted.dispose();
    }
  });
});

describe.each(['vl-bert', 'visual-bert', 'lxmert'])('%s of the data of a task', (name) => {
  it('has the derivative that central differences of all its weights have, and lastK 1 takes one block, pooler and head', async () => {
    const { model, task } = tinyTask(name, 4);
    const adapted = adapt(model, [tangent()]);
    const plain = adapt(model, [tune({ at: {} })]);
    const start = snapshot(plain as Adapted<TinyInputs>);
    jitter(adapted as Adapted<TinyInputs>, { deviation: 0.03 });
    const tangents = snapshot(adapted as Adapted<TinyInputs>);
    expect([...tangents.keys()].filter((path) => /key\.bias$|embed/.test(path))).toEqual([]);
    for await (const batch of task.batches(0, 0)) {
      const batchInputs = model.inputs(batch);
      const of = async (a: Adapted<unknown>) => {
        const y = await a.forward(batchInputs);
        const values = y.dataSync<'float32'>().slice();
        y.dispose();
        return values;
      };
      const at = async (h: number) => {
        set(plain as Adapted<TinyInputs>, (path) => start.get(path)!.map((x, i) => x + h * (tangents.get(path.replace('tune/', 'tangent/'))?.[i] ?? 0)));
        return of(plain);
      };
      const [whole, above, below, base] = [await of(adapted), await at(0.02), await at(-0.02), await at(0)];
      toBeAllClose(above.map((v, i) => (v - below[i]!) / 0.04), whole.map((v, i) => v - base[i]!), { relative: 5e-3 }, 'J D');
      tf.dispose(tensorsIn(batchInputs));
      break;
    }
    const last = adapt(model, [tangent({ lastK: 1 })]);
    expect(new Set([...last.parameters.values()].flatMap((p) => /\.\d+\./.exec(p.path)?.[0] ?? [])).size).toBe(1);
    for (const a of [adapted, plain, last]) a.dispose();
    disposeModel(model.scope);
  });
});
