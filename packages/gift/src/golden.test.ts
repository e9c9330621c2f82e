import { readFileSync } from 'node:fs';
import * as tf from '@tensorflow/tfjs';
import { adapt, Scope, unitRows, type Adapted, type Model, type ParameterPoint, type Value } from '@espalier/core';
import { distanceOf, toBeAllClose, toDiffer, useCpu } from '@espalier/testing';
import { beforeAll, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { paca, pacaBlock } from './blocks.ts';
import type { Variables } from './dense.ts';
import { gift } from './gift.ts';
import { options, settingsOf } from './options.ts';

beforeAll(useCpu);

const matrix = z.array(z.array(z.number()));
const goldens = z
  .object({
    G1_gift_v2: z.object({ dW: matrix, y: matrix, loss: z.number(), dphi: matrix, dpsi: matrix, y_frozen: matrix }),
    G2_paca: z.object({ C: matrix, Z: matrix, A: matrix, out: matrix }),
  })
  .parse(JSON.parse(readFileSync(new URL('../fixtures/goldens.json', import.meta.url), 'utf8')));

/** fill(shape, s, a)[k] = a sin(1 + 0.5 s + 0.7 k), row by row. */
const fill = (shape: number[], s: number, a: number) => tf.tensor(Float32Array.from({ length: shape.reduce((m, n) => m * n, 1) }, (_, k) => a * Math.sin(1 + 0.5 * s + 0.7 * k)), shape);

/** A model of one linear, from W [out, in] and b. */
function oneLinear(w: tf.Tensor, b: tf.Tensor): Model<tf.Tensor> {
  const [out, width] = w.shape as [number, number];
  const scope = Scope.root((path) => (path.endsWith('.kernel') ? tf.transpose(w) : b));
  const place = scope.child('only', { stream: 'joint', block: 0 });
  const use = place.use(place.linear('attention.output', width, out));
  return { name: 'one-linear', scope, batch: (x) => x.shape[0]!, forward: (x, step) => step.linear(use, x) };
}

const set = <I>(adapted: Adapted<I>, name: string, value: tf.Tensor) => adapted.parameters.get(name)!.variable.assign(value);
/** The update of W [out, in] that merging makes. */
async function updateOf(adapted: Adapted<tf.Tensor>, w: tf.Tensor): Promise<tf.Tensor> {
  const merged = await adapted.merge();
  return tf.sub(tf.transpose(merged.get('only.output.kernel')!), w);
}
/** Tensors of a test, disposed at its end. */
const scoped = async (f: () => Promise<void>) => {
  tf.engine().startScope();
  await f();
  tf.engine().endScope();
};

describe('G1: W (I + phi psi)', () => {
  const G = goldens.G1_gift_v2;
  it.each(['activation', 'low-rank'] as const)('%s form: update, output, loss and gradients', (form) =>
    scoped(async () => {
      const [w, x] = [fill([4, 3], 1, 0.5), fill([2, 3], 5, 1)];
      const adapted = adapt(oneLinear(w, fill([4], 2, 0.1)), [gift({ rank: 2, form })]);
      toBeAllClose((await adapted.forward(x)).dataSync(), G.y_frozen.flat(), { absolute: 1e-7 }, 'frozen output');
      set(adapted, 'gift/joint.attention.output.phi', fill([3, 2], 3, 0.4));
      set(adapted, 'gift/joint.attention.output.psi', fill([2, 3], 4, 0.3));
      toBeAllClose((await updateOf(adapted, w)).dataSync(), G.dW.flat(), { absolute: 1e-7 }, 'update');
      const learned = await adapted.learn(x, (y) => tf.mul(0.5, tf.sum(tf.square(y))));
      toBeAllClose(learned.output.dataSync(), G.y.flat(), { relative: 1e-6 }, 'output');
      expect(learned.loss.dataSync()[0]).toBeCloseTo(G.loss, 6);
      toBeAllClose(learned.gradients.get('gift/joint.attention.output.phi')!.dataSync(), G.dphi.flat(), { relative: 1e-6 }, 'gradient of phi');
      toBeAllClose(learned.gradients.get('gift/joint.attention.output.psi')!.dataSync(), G.dpsi.flat(), { relative: 1e-6 }, 'gradient of psi');
      learned.dispose();
      adapted.dispose();
    }),
  );
});

/** Variables whose values a test gives by path. */
function given(values: (path: string) => tf.Tensor): { variables: Variables; read: (p: ParameterPoint) => Value } {
  let id = 0;
  const variables: Variables = (path) => {
    const variable = tf.variable(values(path));
    return { id: id++, path, role: 'parameter', stream: undefined, block: undefined, pretrained: { value: variable }, variable, instance: 'test', group: 'default' };
  };
  return { variables, read: (p) => p.variable };
}
const host = (x: Value) => (x instanceof tf.Tensor ? x.dataSync() : x.primal.dataSync());
const flat = (x: Value) => Array.from(host(x));

describe('G2: the PaCa block', () => {
  const settings = settingsOf(options.parse({ generator: 'paca', rank: 4, clusters: 3 }));
  const seeds: Record<string, number> = { query: 2, key: 3, value: 4, cluster: 5, output: 6, fc1: 7, fc2: 8 };
  const sizes: Record<string, [out: number, inputs: number]> = { cluster: [3, 4], fc1: [8, 4], fc2: [4, 8] };
  const values = (path: string) => {
    const [layer, part] = path.split('.').slice(-2) as [string, string];
    const [out, inputs] = sizes[layer] ?? [4, 4];
    return part === 'kernel' ? tf.transpose(fill([out, inputs], seeds[layer]!, 0.5)) : fill([out], seeds[layer]! + 0.25, 0.1);
  };

  it('has the clusters, their means, the attention and the output of the reference', () =>
    tf.tidy(() => {
      const G = goldens.G2_paca;
      const { variables, read } = given(values);
      const t = fill([5, 4], 1, 1);
      const inner = paca(variables, 'a', settings);
      const x = unitRows(t);
      toBeAllClose(flat(inner.clusters(x, read)), G.C.flat(), { relative: 1e-6 }, 'C');
      toBeAllClose(flat(inner.means(x, read)), G.Z.flat(), { relative: 1e-6 }, 'Z');
      toBeAllClose(flat(inner.probabilities(x, inner.means(x, read), read)), G.A.flat(), { relative: 1e-6 }, 'A');
      toBeAllClose(flat(pacaBlock(variables, 'b', settings, true).run(t, read)), G.out.flat(), { relative: 1e-6 }, 'out');
    }));

  it('T8: clusters lie in (0, 1), means have length one, attention sums to one, and a row of W gives the same C however long it is', () =>
    tf.tidy(() => {
      const { variables, read } = given(values);
      const inner = paca(variables, 'a', { ...settings, heads: 2 });
      const t = fill([5, 4], 1, 1);
      const x = unitRows(t);
      const c = flat(inner.clusters(x, read));
      expect(Math.min(...c)).toBeGreaterThan(0);
      expect(Math.max(...c)).toBeLessThan(1);
      const means = inner.means(x, read) as tf.Tensor;
      for (const length of tf.norm(means, 2, 1).dataSync()) expect(length).toBeCloseTo(1, 6);
      for (const total of tf.sum(inner.probabilities(x, means, read) as tf.Tensor, -1).dataSync()) expect(total).toBeCloseTo(1, 6);
      const longer = tf.mul(t, tf.tensor2d([[1], [7.5], [1], [0.02], [1]]));
      toBeAllClose(flat(inner.clusters(unitRows(longer), read)), c, { relative: 1e-6 }, 'C of longer rows');
    }));
});

describe('T7: the columns of the update', () => {
  it('lie in those of W where g is the identity, and not otherwise', () =>
    scoped(async () => {
      const s = 1 / Math.sqrt(20);
      const basis = tf.tensor2d([[3 * s, 0.5], [s, -0.5], [-s, -0.5], [-3 * s, 0.5]]); // orthonormal, [out, 2]
      const w = tf.matMul(basis, fill([2, 6], 1, 1)); // [4, 6] of rank 2
      for (const [generator, within] of [['linear', true], ['mlp', false]] as const) {
        const adapted = adapt(oneLinear(w, tf.zeros([4])), [gift({ generator, rank: 3 })]);
        set(adapted, 'gift/joint.attention.output.psi', fill([3, 6], 2, 1));
        const update = await updateOf(adapted, w);
        const outside = tf.sub(update, tf.matMul(basis, tf.matMul(basis, update, true)));
        const { distance } = distanceOf(outside, tf.zerosLike(outside));
        if (within) expect(distance).toBeLessThan(1e-6);
        else expect(distance).toBeGreaterThan(1e-2);
        adapted.dispose();
      }
    }));
});

describe('T8: the order of the rows of W', () => {
  const order = [2, 0, 4, 1, 3];
  const updates = async (chosen: Parameters<typeof gift>[0]) => {
    const w = fill([5, 6], 1, 1);
    const shuffled = tf.gather(w, order);
    const [plain, permuted] = await Promise.all(
      [w, shuffled].map(async (rows) => {
        const adapted = adapt(oneLinear(rows, tf.zeros([5])), [gift({ rank: 4, ...chosen })]);
        set(adapted, 'gift/joint.attention.output.psi', fill([4, 6], 2, 1));
        const update = await updateOf(adapted, rows);
        adapted.dispose();
        return update;
      }),
    );
    return { expected: tf.gather(plain!, order), found: permuted! };
  };

  it.each(['linear', 'paca', 'paca-attention', 'transformer', 'mlp'] as const)('is the order of the rows of the update: %s', (generator) =>
    scoped(async () => {
      const { expected, found } = await updates({ generator });
      toBeAllClose(found, expected, { relative: 1e-5 });
    }),
  );

  it.each(['sin', 'learnedRank'] as const)("matters with positions '%s'", (posEnc) =>
    scoped(async () => {
      const { expected, found } = await updates({ generator: 'paca', posEnc });
      toDiffer(found, expected, 1e-4);
    }),
  );
});
