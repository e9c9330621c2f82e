import * as tf from '@tensorflow/tfjs';
import { adapt, denseGradient } from '@espalier/core';
import { selectBackend } from '@espalier/core/backend';
import { disposeInputs, gradientsOf, jitter, taughtBySteps, tinyInputs, tinyLoss, tinyOneStream, tinyTwoStream, toBeAllClose, useCpu, useOnnx } from '@espalier/testing';
import { afterAll, describe, expect, it } from 'vitest';
import { cachedLearner } from './cached.ts';
import { componentOf } from './component.ts';
import { componentLogits } from './logits.ts';
import { perSampleOf } from './per-sample.ts';
import { tangent } from './tangent.ts';

afterAll(useCpu);

const samples = ['a', 'b', 'c'];

/** Output, gradients, those of single samples, those from a trace, and a component's outputs, on the backend in force. */
async function numbers(make: typeof tinyOneStream | typeof tinyTwoStream): Promise<Map<string, Float32Array>> {
  const [model, inputs] = [make(), tinyInputs()];
  const adapted = adapt(model, [tangent()]);
  jitter(adapted);
  const found = await gradientsOf(adapted, inputs, { seed: 1, step: 2 });
  const y = await adapted.forward(inputs);
  found.set('output', y.dataSync<'float32'>().slice());
  const gradients = perSampleOf(adapted);
  const targets = tf.zeros([3, 3]);
  const each = await gradients.of(inputs, targets, (x, t) => tf.tidy(() => tf.mean<tf.Scalar>(tf.square(tf.sub(x, t)))), { seed: 0, step: 0, samples });
  found.set('norms', each.norms);
  const sums = each.sum([1, 0.5, 0.25]);
  for (const [name, g] of sums) found.set(`sum ${name}`, g.dataSync<'float32'>().slice());
  const cached = cachedLearner<typeof inputs, undefined>(adapted, { loss: tinyLoss });
  for (let i = 0; i < 2; i++) {
    const lesson = await cached.learn(inputs, undefined, { seed: 0, step: i, samples });
    for (const [name, g] of lesson.gradients) found.set(`cached ${i} ${name}`, denseGradient(g).dataSync<'float32'>().slice());
    lesson.dispose();
  }
  const { base, of } = await componentLogits(adapted, inputs, [await componentOf(adapted, { id: 'c' })]);
  found.set('base', base.dataSync<'float32'>().slice());
  found.set('component', of.get('c')!.dataSync<'float32'>().slice());
  tf.dispose([y, base, targets, ...of.values(), ...sums.values()]);
  each.dispose();
  gradients.dispose();
  cached.dispose();
  adapted.dispose();
  model.dispose();
  disposeInputs(inputs);
  return found;
}

describe.each(['wasm', 'onnx'])('on %s', (backend) => {
  it.each([['one stream', tinyOneStream], ['two streams', tinyTwoStream]] as const)('%s has the numbers of cpu', async (_, make) => {
    await useCpu();
    const wanted = await numbers(make);
    await selectBackend(backend);
    const found = await numbers(make);
    expect([...found.keys()]).toEqual([...wanted.keys()]);
    for (const [name, x] of wanted) toBeAllClose(found.get(name)!, x, { absolute: 2e-5, relative: 1e-4 }, name);
  });
});

it('a recorded step is replayed with the numbers of a traced one, bit for bit', async () => {
  await useOnnx();
  const teach = async (capture: boolean) => {
    const model = tinyTwoStream();
    const adapted = adapt(model, [tangent({ reinit: true, replaceCls: true, lastK: 2, dropout: true })]);
    jitter(adapted);
    const taught = await taughtBySteps(adapted, { capture });
    adapted.dispose();
    model.dispose();
    return taught;
  };
  const [traced, replayed] = [await teach(false), await teach(true)];
  expect([replayed.last, replayed.refused]).toEqual(['replayed', undefined]);
  expect(replayed.found).toEqual(traced.found);
});
