import * as tf from '@tensorflow/tfjs';
import { adapt, activationMemory, type ActivationStore } from '@espalier/core';
import { disposeInputs, jitter, takeInputs, tinyInputs, tinyLoss, tinyOneStream, tinyTwoStream, useCpu, useOnnx, type TinyInputs, type TinyModel } from '@espalier/testing';
import { afterAll, describe, expect, it } from 'vitest';
import { toast } from './toast.ts';

afterAll(useCpu);

const lengths = [[5, 3], [3, 2], [4, 3], [5, 1]] as const;

/** Losses and gradients of a step per batch, and what the cache did. */
async function taught(model: TinyModel, options: Parameters<typeof toast>[0], batches: readonly TinyInputs[], cache?: ActivationStore) {
  const adapted = adapt(model, [toast(options)]);
  jitter(adapted);
  const learner = adapted.learner<undefined>({ loss: (y) => tinyLoss(y), cache });
  const numbers: number[][] = [];
  for (const [step, batch] of batches.entries()) {
    const lesson = await learner.learn(batch, undefined, { seed: 0, step, samples: Array.from({ length: batch.ids.shape[0] }, (_, i) => String(i)) });
    numbers.push([...lesson.scalars.dataSync()], ...[...lesson.gradients.values()].map((g) => [...('rows' in g ? g.rows : g).dataSync()]));
    lesson.dispose();
  }
  const { cached, last } = learner;
  learner.dispose();
  adapted.dispose();
  return { numbers, cached, last };
}

describe.each([['cpu', useCpu], ['onnx', useOnnx]] as const)('T8: the first pass from a cache, on %s', (name, backend) => {
  it.each([
    ['one stream', tinyOneStream, { to: 0 }],
    ['one stream, late', tinyOneStream, { to: 1, task: 'question' }],
    ['two streams', tinyTwoStream, {}],
    ['two streams, all blocks', tinyTwoStream, { to: 0, feedback: 'lite' }],
  ] as const)('gives the same losses and gradients, bit for bit: %s', async (_, make, options) => {
    await backend();
    const [model, a, b] = [make({ dropout: 0 }), tinyInputs({ lengths }), tinyInputs({ lengths, seed: 1 })];
    const other = takeInputs(a, [2, 0, 3, 1]); // the same samples in another order
    const batches = [a, b, a, b, a, other];
    const plain = await taught(model, options, batches);
    const kept = await taught(model, options, batches, activationMemory());
    expect(kept.numbers).toEqual(plain.numbers);
    expect(kept.cached).toEqual({ hits: 3, misses: 3, full: false, refused: undefined }); // the third is computed as well, to compare
    expect(kept.last).toBe(name === 'onnx' ? 'replayed' : 'traced');
    [a, b, other].forEach(disposeInputs);
    model.dispose();
  });
});

describe('what is kept', () => {
  it('of two streams is what the passes share and the top: the stacks once per question and once per image', async () => {
    await useCpu();
    const [model, inputs] = [tinyTwoStream({ dropout: 0 }), tinyInputs({ lengths })];
    const sets: Float32Array[] = [];
    const store = activationMemory();
    await taught(model, {}, [inputs], { ...store, set: (key, values) => (sets.push(values), store.set(key, values)) });
    // Each entry is T, T D values and T of the mask: of text and vision below the cross blocks, and of both on top.
    expect(sets.map((s) => s.length).sort((x, y) => x - y)).toEqual([1 + 17 * 3, 1 + 17 * 5].flatMap((n) => Array.from({ length: 8 }, () => n)));
    tf.dispose(Object.values(inputs));
    model.dispose();
  });

  it('is nothing under dropout, and it says why', async () => {
    await useCpu();
    const [model, inputs] = [tinyTwoStream({ dropout: 0.1 }), tinyInputs({ lengths })];
    const { cached } = await taught(model, {}, [inputs, inputs], activationMemory());
    expect(cached?.hits).toBe(0);
    expect(cached?.refused).toMatch(/drawn anew in every step.*without dropout/);
    disposeInputs(inputs);
    model.dispose();
  });
});
