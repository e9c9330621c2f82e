import { adapt } from '@espalier/core';
import { selectBackend } from '@espalier/core/backend';
import { disposeInputs, gradientsOf, jitter, taughtBySteps, tinyInputs, tinyOneStream, tinyTwoStream, toBeAllClose, useCpu, useOnnx } from '@espalier/testing';
import { afterAll, describe, expect, it } from 'vitest';
import { steeringOf } from './steering.ts';
import { toast } from './toast.ts';

afterAll(useCpu);

type Options = NonNullable<Parameters<typeof toast>[0]>;
const cases: readonly (readonly [streams: 1 | 2, Options])[] = [
  [2, { fidelity: 'reference', dropout: 'second' }],
  [2, { feedback: 'lite', to: 0, scheme: 'b', crossTop: true }],
  [1, { task: 'question', vectors: 'modality', freezeP: false, reconstruction: 0.1 }],
];
const modelOf = (streams: 1 | 2, dropout = 0.1) => (streams === 1 ? tinyOneStream({ dropout }) : tinyTwoStream({ dropout }));

/** Output, gradients and attention after feedback on the backend in force. */
async function numbers(streams: 1 | 2, options: Options): Promise<Map<string, Float32Array>> {
  const [model, inputs] = [modelOf(streams), tinyInputs()];
  const adapted = adapt(model, [toast(options)]);
  jitter(adapted);
  const found = await gradientsOf(adapted, inputs, { seed: 1, step: 2 });
  const y = await adapted.forward(inputs);
  found.set('output', y.dataSync<'float32'>().slice());
  for (const { site, after } of (await steeringOf(adapted, inputs)).attention) found.set(site, Float32Array.from(after.flatMap((row) => [...row])));
  y.dispose();
  adapted.dispose();
  model.dispose();
  disposeInputs(inputs);
  return found;
}

describe.each(['wasm', 'onnx'])('on %s', (backend) => {
  it.each(cases)('%i streams, %j: the numbers of cpu', async (streams, options) => {
    await useCpu();
    const wanted = await numbers(streams, options);
    await selectBackend(backend);
    const found = await numbers(streams, options);
    expect([...found.keys()]).toEqual([...wanted.keys()]);
    for (const [name, x] of wanted) toBeAllClose(found.get(name)!, x, { absolute: 1e-5, relative: 1e-4 }, name);
  });
});

describe('a recorded step', () => {
  it.each(cases)('of %i streams, %j, is replayed with the numbers of a traced one, bit for bit', async (streams, options) => {
    await useOnnx();
    const teach = async (capture: boolean) => {
      const model = modelOf(streams, 0.2);
      const adapted = adapt(model, [toast(options)]);
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
});
