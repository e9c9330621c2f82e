import * as tf from '@tensorflow/tfjs';
import { adapt, activationMemory, mul, normal, scale, value, weight, withLowRank, zeros, type ActivationStore, type Host, type LinearRole, type Plugin, type Select } from '@espalier/core';
import { afterAll, describe, expect, it } from 'vitest';
import { useCpu, useOnnx } from './backend.ts';
import { inline } from './inline.ts';
import { disposeInputs, takeInputs, tinyInputs, type TinyInputs } from './inputs.ts';
import { tinyOneStream, tinyTwoStream, type TinyModel } from './tiny.ts';
import { jitter, tinyLoss } from './training.ts';

afterAll(useCpu);

const update = (at: Select<LinearRole>) =>
  inline('update', (host: Host) =>
    host.linears(at).map((w) => {
      const [a, b] = [host.variable(`${w.path}.a`, [w.in, 2], normal(0.3)), host.variable(`${w.path}.b`, [2, w.out], zeros)];
      return weight(w, (p, step) => withLowRank(p, step.read(a), step.read(b)));
    }),
  );
/** Counts the samples that pass a block's output, and doubles the values there. */
const counting = (seen: { samples: number }, select: Parameters<Host['sites']>[0]) =>
  inline('frozen', (host: Host) => host.sites(select).map((site) => value(site, (x) => ((seen.samples += x.shape[0]!), scale(x, 1.5)))), { trainable: false });

const lengths = [[5, 3], [3, 2], [4, 3], [5, 1]] as const;
const dry = { one: () => tinyOneStream({ dropout: 0 }), two: () => tinyTwoStream({ dropout: 0 }) };

/** Losses and gradients of steps over batches, and what the cache did. */
async function taught(model: TinyModel, plugins: readonly Plugin[], batches: readonly TinyInputs[], cache?: ActivationStore) {
  const adapted = adapt(model, plugins);
  jitter(adapted);
  const learner = adapted.learner<undefined>({ loss: (y) => tinyLoss(y), ...(cache && { cache }) });
  const numbers: number[][] = [];
  const before = tf.memory().numTensors;
  for (const [step, batch] of batches.entries()) {
    const lesson = await learner.learn(batch, undefined, { seed: 0, step, samples: Array.from({ length: batch.ids.shape[0] }, (_, i) => `${i}`) });
    numbers.push([...lesson.scalars.dataSync()], ...[...lesson.gradients.values()].map((g) => [...('rows' in g ? g.rows : g).dataSync()]));
    lesson.dispose();
  }
  expect(tf.memory().numTensors).toBe(before);
  const { cached, last } = learner;
  learner.dispose();
  adapted.dispose();
  return { numbers, cached, last };
}

describe.each([['cpu', useCpu], ['onnx', useOnnx]] as const)('a cache of what nothing trainable touches, on %s', (name, backend) => {
  it.each([
    ['one', { role: 'ffn.up', block: [1, 2] }],
    ['two', { role: 'ffn.up', block: [3, 4] }],
    ['two', { role: 'cross.query', block: [2, 3] }],
    ['two', { role: 'attention.query', stream: 'text' }],
  ] as const)('gives the same numbers, bit for bit, and computes no block again: %s, %j', async (kind, at) => {
    await backend();
    const [model, a, b] = [dry[kind](), tinyInputs({ lengths }), tinyInputs({ lengths, seed: 1 })];
    const batches = [a, b, a, b, a, b, takeInputs(a, [2, 0, 3, 1]), b];
    const plain = await taught(model, [update(at)], batches);
    const kept = await taught(model, [update(at)], batches, activationMemory());
    expect(kept.numbers).toEqual(plain.numbers);
    // Two batches computed, one more of a batch that is there, to compare.
    expect(kept.cached).toEqual({ hits: 5, misses: 3, full: false, refused: undefined });
    expect(kept.last).toBe(name === 'onnx' ? 'replayed' : 'traced');
    [...batches.slice(0, 2), batches[6]!].forEach(disposeInputs);
    model.dispose();
  });
});

describe('a cache', () => {
  it('runs frozen plugins once per sample', async () => {
    await useCpu();
    const [model, batch] = [dry.two(), tinyInputs({ lengths })];
    const seen = { samples: 0 };
    const store = activationMemory();
    const { cached } = await taught(model, [counting(seen, { role: 'block.output', stream: 'text', block: [0, 1] }), update({ role: 'ffn.up', block: [3, 4] })], [batch, batch, batch, batch], store);
    expect(cached).toMatchObject({ hits: 2, misses: 2 });
    // To find out what is read, to keep it, and to compare.
    expect(seen.samples).toBe(3 * lengths.length);
    disposeInputs(batch);
    model.dispose();
  });

  it('keeps a stream per what it follows from: text once per question, vision once per image', async () => {
    await useCpu();
    const model = dry.two();
    const [a, b] = [tinyInputs({ lengths }), tinyInputs({ lengths, seed: 1 })];
    const crossed: TinyInputs = { ...b, ids: a.ids, segments: a.segments, textMask: a.textMask }; // the questions of a about the images of b
    const keys = new Set<string>();
    const inner = activationMemory();
    const store: ActivationStore = { ...inner, set: (key, values) => (keys.add(key), inner.set(key, values)) };
    await taught(model, [update({ role: 'cross.query', block: [2, 3] })], [a, crossed], store);
    expect(keys.size).toBe(3 * lengths.length); // questions, and images of both
    [a, b].forEach(disposeInputs);
    model.dispose();
  });

  it.each([
    ['dropout', () => tinyTwoStream({ dropout: 0.2 }), () => update({ role: 'head.down' }), /^'dropout [a-z.]+.*' is drawn anew in every step below the first place that learns: train without dropout, or without the cache$/],
    ['all blocks learn', dry.one, () => update({ role: 'attention.query' }), /^no block lies below the first place that learns$/],
  ] as const)('is refused with the reason: %s', async (_, make, plugin, reason) => {
    await useCpu();
    const [model, batch] = [make(), tinyInputs({ lengths })];
    const plain = await taught(model, [plugin()], [batch, batch]);
    const kept = await taught(model, [plugin()], [batch, batch], activationMemory());
    expect(kept.cached).toMatchObject({ hits: 0, misses: 0 });
    expect(kept.cached!.refused).toMatch(reason);
    expect(kept.numbers).toEqual(plain.numbers);
    disposeInputs(batch);
    model.dispose();
  });

  it('is given up where what it holds is not what is computed, and says where', async () => {
    await useCpu();
    const [model, batch] = [dry.one(), tinyInputs({ lengths })];
    const inner = activationMemory();
    const forgetful: ActivationStore = { ...inner, set: (key, values) => inner.set(key, values.map((x, i) => (i === 5 ? x + 1e-3 : x))) };
    const at = { role: 'ffn.up', block: [1, 2] } as const;
    const plain = await taught(model, [update(at)], [batch, batch, batch]);
    const kept = await taught(model, [update(at)], [batch, batch, batch], forgetful);
    expect(kept.cached).toMatchObject({ hits: 0, misses: 2 });
    expect(kept.cached!.refused).toMatch(/^'joint\.0.*' was not computed bit for bit as before$/);
    expect(kept.numbers).toEqual(plain.numbers);
    disposeInputs(batch);
    model.dispose();
  });

  it('that is full keeps what it has and computes the rest', async () => {
    await useCpu();
    const [model, a, b] = [dry.one(), tinyInputs({ lengths }), tinyInputs({ lengths, seed: 1 })];
    const at = { role: 'ffn.up', block: [1, 2] } as const;
    const batches = [a, b, a, b, a, b];
    const plain = await taught(model, [update(at)], batches);
    const kept = await taught(model, [update(at)], batches, activationMemory({ bytes: 2800 }));
    expect(kept.cached).toMatchObject({ hits: 1, misses: 5, full: true, refused: undefined });
    expect(kept.numbers).toEqual(plain.numbers);
    [a, b].forEach(disposeInputs);
    model.dispose();
  });

  it('that outlives the process names weights and frozen plugins in its keys', async () => {
    await useCpu();
    const batch = tinyInputs({ lengths });
    const inner = activationMemory();
    const keys = new Set<string>();
    const store: ActivationStore = { ...inner, persistent: true, set: (key, values) => (keys.add(key), inner.set(key, values)) };
    const at = { role: 'ffn.up', block: [1, 2] } as const;
    const frozen = (by: number) => inline('gain', (host: Host) => host.sites({ role: 'block.output', block: [0, 1] }).map((s) => {
      const gain = host.variable(`${s.path}.gain`, [16], () => new Float32Array(16).fill(by));
      return value(s, (x, step) => mul(x, step.read(gain)));
    }), { trainable: false });
    for (const plugins of [[update(at)], [update(at)], [frozen(2), update(at)], [frozen(3), update(at)]]) {
      const model = dry.one();
      const adapted = adapt(model, plugins);
      const learner = adapted.learner<undefined>({ loss: (y) => tinyLoss(y), cache: store });
      (await learner.learn(batch, undefined, { seed: 0, step: 0, samples: ['a', 'b', 'c', 'd'] })).dispose();
      learner.dispose();
      adapted.dispose();
      model.dispose();
    }
    expect(keys.size).toBe(3 * lengths.length);
    disposeInputs(batch);
  });
});
