import * as tf from '@tensorflow/tfjs';
import { adapt, ConflictError, definePlugin, entriesOf, finish, mapParams, OptionsError, primal, RefusedError, SelectionError, startStep, tangentOf, weight, type Adapted, type Params, type WeightPoint } from '@espalier/core';
import { adapter, distanceOf, jitter, scaler, snapshot, tinyLoss, tinyModels, toBeAllClose, toBeBitEqual, toRefuse, type TinyInputs } from '@espalier/testing';
import { afterAll, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { deadScopes } from './liveness.ts';
import { regularise } from './regulariser.ts';
import { tangent } from './tangent.ts';

const { one, two, inputs } = await tinyModels(afterAll);
const models = [['one stream', one], ['two streams', two]] as const;

/** Every array of the model as a variable that starts as its copy: plain training. */
const plainly = definePlugin({
  name: 'plainly',
  version: '0.1.0',
  hookApi: '1.0',
  options: z.strictObject({}),
  attach: (host) =>
    host.weights().map((at) => {
      const own = new Map(entriesOf(at.pretrained).map(([part, x]) => [part, host.variable(`${at.path}.${part}`, x.shape, () => primal(x).dataSync<'float32'>().slice())]));
      return weight(at as WeightPoint<Params>, (p, step) => mapParams(p, (_, part) => step.read(own.get(part)!)), { mode: 'replace' });
    }),
});

/** f(x; w) and J D, apart. */
async function dualOf(adapted: Adapted<TinyInputs>, of: TinyInputs = inputs): Promise<{ value: Float32Array; derivative: Float32Array }> {
  const step = startStep(adapted.plan, of, adapted.model.batch(of));
  const found = tf.tidy(() => {
    const y = adapted.model.forward(of, step);
    return { value: primal(y).dataSync<'float32'>().slice(), derivative: tangentOf(y)?.dataSync<'float32'>().slice() };
  });
  finish(step);
  return { value: found.value, derivative: found.derivative ?? new Float32Array(found.value.length) };
}

const set = (adapted: Adapted<TinyInputs>, values: (path: string) => Float32Array) => {
  for (const [path, { variable }] of adapted.parameters) tf.tidy(() => variable.assign(tf.tensor(values(path), variable.shape)));
};
const draws = (adapted: Adapted<TinyInputs>, seed: number) => {
  jitter(adapted, { seed, deviation: 0.06 });
  return snapshot(adapted);
};

describe.each(models)('%s', (_, model) => {
  it('J D is what central differences of the weights give, with an error that falls as the square of the step', async () => {
    const adapted = adapt(model, [tangent({ parts: ['attention', 'ffn', 'norms', 'biases', 'pooler', 'head', 'embeddings'] })]);
    draws(adapted, 1);
    const { derivative } = await dualOf(adapted);
    // The plain model with weights w + h D: tune holds them as variables.
    const plain = adapt(model, [plainly()]);
    const at = async (h: number) => {
      for (const [path, { variable }] of plain.parameters) {
        const own = adapted.parameters.get(path.replace('plainly/', 'tangent/'));
        tf.tidy(() => variable.assign(own ? tf.add(model.tensors.get(path.slice('plainly/'.length))!, tf.mul(own.variable, h)) : model.tensors.get(path.slice('plainly/'.length))!));
      }
      return (await dualOf(plain)).value;
    };
    const peak = Math.max(...derivative.map(Math.abs));
    const errors: number[] = [];
    for (const h of [0.04, 0.02, 0.01]) {
      const [above, below] = [await at(h), await at(-h)];
      errors.push(distanceOf(above.map((v, i) => (v - below[i]!) / (2 * h)), derivative).distance / peak);
    }
    expect(errors[2]).toBeLessThan(2e-3);
    expect(errors[1]!).toBeLessThan(errors[0]! / 3 + 2e-4);
    expect(errors[2]!).toBeLessThan(errors[1]! / 3 + 4e-4);
    plain.dispose();
    adapted.dispose();
  });

  it('J D is what two backward passes through the plain model give, and J\' u the gradient of the plain model: <J D, u> = <D, J\' u>', async () => {
    const adapted = adapt(model, [tangent()]);
    draws(adapted, 2);
    const plain = adapt(model, [plainly()]);
    const { derivative, value } = await dualOf(adapted);
    const u = Float32Array.from(value, (_, i) => Math.cos(i));
    const learned = await plain.learn(inputs, (y) => tf.sum(tf.mul(y, tf.tensor(u, y.shape))), { training: false });
    let paired = 0;
    for (const [path, g] of learned.gradients) {
      const own = adapted.parameters.get(path.replace('plainly/', 'tangent/'));
      if (own) paired += own.variable.dataSync<'float32'>().reduce((total, d, i) => total + d * g.dataSync()[i]!, 0);
    }
    const along = derivative.reduce((total, d, i) => total + d * u[i]!, 0);
    expect(Math.abs(along - paired)).toBeLessThan(1e-4 * Math.max(1, Math.abs(paired)));
    // The adjoint identity: the gradient of a loss of the linearised output is that of the frozen model with the same residual.
    const lossOf = (y: tf.Tensor): tf.Scalar => tf.sum(tf.mul(y, tf.tensor(u, y.shape)));
    const own = await adapted.learn(inputs, lossOf);
    const largest = Math.max(...[...own.gradients.values()].map((g) => Math.max(...g.dataSync().map(Math.abs))));
    const withoutPenalty = adapt(model, [tangent({ lambda: 0 })]);
    const clean = await withoutPenalty.learn(inputs, lossOf);
    for (const [path, g] of clean.gradients) toBeAllClose(g, learned.gradients.get(path.replace('tangent/', 'plainly/'))!, { absolute: 1e-5 * largest, relative: 0 }, path);
    for (const l of [learned, own, clean]) l.dispose();
    for (const a of [plain, adapted, withoutPenalty]) a.dispose();
  });

  it('is affine in the tangents: a D + b E gives f + a J D + b J E', async () => {
    const adapted = adapt(model, [tangent()]);
    const zero = await dualOf(adapted);
    toBeBitEqual(zero.derivative, new Float32Array(zero.value.length), 'J 0');
    const d = draws(adapted, 3);
    const first = await dualOf(adapted);
    const e = draws(adapted, 4);
    const second = await dualOf(adapted);
    set(adapted, (path) => d.get(path)!.map((x, i) => 0.7 * x - 1.3 * e.get(path)![i]!));
    const both = await dualOf(adapted);
    toBeBitEqual(both.value, zero.value, 'f(x; w)');
    toBeAllClose(both.derivative, first.derivative.map((x, i) => 0.7 * x - 1.3 * second.derivative[i]!), { relative: 5e-6 }, 'J (a D + b E)');
    adapted.dispose();
  });

  it('leaves out exactly what cannot change the answer', async () => {
    const adapted = adapt(model, [tangent()]);
    const plain = adapt(model, [plainly()]);
    const learned = await plain.learn(inputs, tinyLoss);
    const largest = Math.max(...[...learned.gradients.values()].map((g) => Math.max(...g.dataSync().map(Math.abs))));
    for (const { path } of plain.parameters.values()) {
      if (path.includes('embed')) continue;
      const g = learned.gradients.get(path)?.dataSync() ?? new Float32Array(1);
      const dead = Math.max(...g.map(Math.abs)) < 1e-6 * largest;
      expect(adapted.parameters.has(path.replace('plainly/', 'tangent/')), path).toBe(!dead);
    }
    learned.dispose();
    plain.dispose();
    adapted.dispose();
  });

  it.each(['scaler', 'adapter'] as const)('is affine about a frozen %s, whose variables can be linearised instead of weights', async (name) => {
    const base = () => ({ scaler, adapter })[name]({}, { trainable: false });
    for (const options of [{ of: [name], places: false }, { lastK: 1 }]) {
      const adapted = adapt(model, [base(), tangent(options)]);
      const start = draws(adapted, 8);
      const put = (by: number) => set(adapted, (path) => (path.startsWith('tangent/') ? start.get(path)!.map((x) => by * x) : start.get(path)!));
      put(-2);
      const second = await dualOf(adapted);
      put(1);
      const first = await dualOf(adapted);
      expect(Math.max(...first.derivative.map(Math.abs))).toBeGreaterThan(1e-3);
      toBeAllClose(second.derivative, first.derivative.map((x) => -2 * x), { relative: 5e-6 }, 'J (-2 D)');
      toBeBitEqual(second.value, first.value, 'f(x; w)');
      if ('of' in options) {
        const moved = async (h: number) => {
          set(adapted, (path) => start.get(path)!.map((x, i) => (path.startsWith('tangent/') ? 0 : x + h * start.get(`tangent/${path}`)![i]!)));
          return (await dualOf(adapted)).value;
        };
        const [above, below] = [await moved(0.02), await moved(-0.02)];
        toBeAllClose(above.map((v, i) => (v - below[i]!) / 0.04), first.derivative, { relative: 5e-3, absolute: 2e-4 }, 'differences');
      }
      adapted.dispose();
    }
  });

  it('draws a base anew, which follows from the seed, and puts a token of its own before the first linearised block', async () => {
    const make = (seed: number) => adapt(model, [tangent({ lastK: 1, reinit: true, replaceCls: true })], { seed });
    const [first, again, other] = [make(5), make(5), make(6)];
    const plain = await dualOf(adapt(model, []));
    const [a, b, c] = [await dualOf(first), await dualOf(again), await dualOf(other)];
    toBeBitEqual(a.value, b.value, 'the same seed');
    expect(distanceOf(a.value, c.value).distance).toBeGreaterThan(1e-3);
    expect(distanceOf(a.value, plain.value).distance).toBeGreaterThan(1e-3);
    first.parameters.get('tangent/cls')!.variable.assign(tf.ones([16]));
    expect(Math.max(...(await dualOf(first)).derivative.map(Math.abs))).toBeGreaterThan(1e-4);
    for (const x of [first, again, other]) x.dispose();
  });

  it('refuses to be merged', async () => {
    const adapted = adapt(model, [tangent({ lastK: 1 })]);
    await toRefuse(() => adapted.merge(), RefusedError, "'tangent'", 'f(w + d) is not f(w) + J d');
    adapted.dispose();
  });
});

it('two tangents of one array add up', async () => {
  const adapted = adapt(one, [tangent({ lastK: 1 }, { as: 'a' }), tangent({ lastK: 2 }, { as: 'b' })]);
  jitter(adapted);
  const both = await dualOf(adapted);
  const [a, b] = [await dualOf(adapted.without('tangent#b')), await dualOf(adapted.without('tangent#a'))];
  toBeAllClose(both.derivative, a.derivative.map((x, i) => x + b.derivative[i]!), { relative: 5e-6 });
  adapted.dispose();
});

it('trains without dropout unless asked for, and then with one mask for both parts', async () => {
  const run = async (options: { dropout: boolean }, training: boolean) => {
    const adapted = adapt(one, [tangent(options)]);
    jitter(adapted);
    const y = await adapted.forward(inputs, { training });
    const values = y.dataSync<'float32'>().slice();
    y.dispose();
    adapted.dispose();
    return values;
  };
  expect(await run({ dropout: false }, true)).toEqual(await run({ dropout: false }, false));
  expect(await run({ dropout: true }, true)).not.toEqual(await run({ dropout: true }, false));
});

it('regularises all tangents together', () => {
  tf.tidy(() => {
    const d = [tf.tensor1d([3, 0]), tf.tensor2d([[-4]])];
    expect(regularise('l2sq', d).dataSync()[0]).toBe(25);
    expect(regularise('l2norm', d).dataSync()[0]).toBeCloseTo(Math.sqrt(25 + 1e-6), 6);
    expect(regularise('l1', d).dataSync()[0]).toBe(7);
  });
});

it('adds the regulariser to the loss of training steps', async () => {
  const plain = adapt(one, [tangent({ lambda: 0 })]);
  const adapted = adapt(one, [tangent({ lambda: 0.5 })]);
  for (const x of [plain, adapted]) jitter(x, { seed: 1 });
  const [a, b] = [await plain.learn(inputs, tinyLoss), await adapted.learn(inputs, tinyLoss)];
  const squares = [...adapted.parameters.values()].reduce((total, p) => total + p.variable.dataSync<'float32'>().reduce((s, x) => s + x * x, 0), 0);
  expect(b.losses.get('tangent regulariser')!.dataSync()[0]! / (0.5 * squares)).toBeCloseTo(1, 5);
  for (const [path, g] of b.gradients) {
    const expected = tf.tidy(() => tf.add(a.gradients.get(path)!, adapted.parameters.get(path)!.variable));
    toBeAllClose(g, expected, { relative: 1e-5 }, path);
    expected.dispose();
  }
  for (const x of [a, b]) x.dispose();
  for (const x of [plain, adapted]) x.dispose();
});

it('a convex loss of it is convex between any two tangents', async () => {
  const adapted = adapt(two, [tangent({ lambda: 0 })]);
  const lossAt = async (values: (path: string) => Float32Array) => {
    set(adapted, values);
    const learned = await adapted.learn(inputs, tinyLoss);
    const loss = learned.loss.dataSync()[0]!;
    learned.dispose();
    return loss;
  };
  const [d, e] = [draws(adapted, 5), draws(adapted, 6)];
  const [a, b] = [await lossAt((p) => d.get(p)!), await lossAt((p) => e.get(p)!)];
  const middle = await lossAt((p) => d.get(p)!.map((x, i) => (x + e.get(p)![i]!) / 2));
  expect(middle).toBeLessThanOrEqual((a + b) / 2);
  adapted.dispose();
});

describe('what is alive', () => {
  it('is everything in one stream; of the last cross block, not the half that nobody reads', () => {
    expect(deadScopes(one.scope.points)).toEqual([]);
    expect([...deadScopes(two.scope.points)].sort()).toEqual(['cross.1.vision.attention', 'cross.1.vision.ffn']);
  });
});

it('counts: tangents of a block alone add three of its forward passes at most, others nothing', async () => {
  const base = await adapt(one, []).account(inputs);
  const adapted = adapt(one, [tangent({ lastK: 1 })]);
  const rows = await adapted.account(inputs);
  const at = (all: typeof rows, place: string, instance: string) => all.filter((r) => r.place === place && r.instance === instance).reduce((n, r) => n + r.macs, 0);
  expect(at(rows, 'joint.0', 'tangent')).toBe(0);
  const block = at(base, 'joint.1', '');
  expect(at(rows, 'joint.1', '')).toBe(block);
  const own = at(rows, 'joint.1', 'tangent');
  // Two products for one, less those of a zero tangent: x enters query, key and value without one.
  expect(own).toBe(2 * block - 3 * 9 * 16 * 16);
  adapted.dispose();
});

describe('refuses', () => {
  it('trainable plugins beside it, which would move its base', async () => {
    await toRefuse(() => adapt(one, [scaler(), tangent()]), ConflictError, "'tangent'", "'scaler'", 'trainable: false');
    await toRefuse(() => adapt(one, [tangent(), plainly()]), ConflictError, "'plainly'");
    adapt(one, [scaler(), tangent({ beside: 'trainable' })]).dispose();
  });

  it.each([
    [{ lastK: 1, at: { role: 'ffn.up' } }, "option 'at'", 'drop lastK and parts'],
    [{ places: false }, "option 'places'", 'add of'],
    [{ places: false, of: ['scaler'], lastK: 1 }, "option 'places'", 'drop at, lastK and parts'],
    [{ lastk: 1 }, "no option 'lastk'", "Did you mean 'lastK'?"],
    [{ replaceCls: true, lastK: 0 }, "option 'replaceCls'", 'choose 1 or more'],
    [{ lambda: -1 }, "option 'lambda'", '>=0'],
    [{ regulariser: 'l2' }, "option 'regulariser'", 'l2sq'],
  ] as [unknown, string, string][])('options %j', async (options, ...words) => {
    await toRefuse(() => tangent.from(options), OptionsError, "'tangent'", ...words);
  });

  it.each([
    [{ lastK: 9 }, 'this model has 2 blocks'],
    [{ at: { role: 'attention.kye' } }, "Did you mean 'attention.key'"],
    [{ of: ['scaler'] }, "names 'scaler', which has no variables here"],
    [{ at: { path: 'cross.1.vision.ffn' } }, 'selects nothing that the answer depends on'],
  ])('selections %j', async (options, words) => {
    await toRefuse(() => adapt(JSON.stringify(options).includes('cross') ? two : one, [tangent.from(options)]), SelectionError, "'tangent'", words);
  });
});
