import { adapt } from '@espalier/core';
import { selectBackend } from '@espalier/core/backend';
import { disposeInputs, gradientsOf, jitter, taughtBySteps, tinyInputs, tinyTwoStream, toBeAllClose, useCpu, useOnnx } from '@espalier/testing';
import { afterAll, describe, expect, it } from 'vitest';
import { gift } from './gift.ts';
import { clusterMaps } from './cluster-maps.ts';

afterAll(useCpu);

type Options = NonNullable<Parameters<typeof gift>[0]>;
const cases: readonly Options[] = [
  {}, { form: 'low-rank' }, { activation: 'softmax', axis: 'rank' }, { activation: 'hsigmoid' }, { generator: 'paca', clusters: 5, heads: 2, posEnc: 'sin' },
  { generator: 'paca-attention', clusters: 3 }, { generator: 'transformer', posEnc: 'learnedRank' }, { generator: 'mlp', inBias: true, outBias: true }, { generator: 'mixer', mixedTokens: 5 },
];

/** Output, gradients and cluster maps on the backend in force. */
async function numbers(options: Options): Promise<Map<string, Float32Array>> {
  const [model, inputs] = [tinyTwoStream(), tinyInputs()];
  const adapted = adapt(model, [gift({ rank: 4, ...options })]);
  jitter(adapted);
  const found = await gradientsOf(adapted, inputs, { seed: 1, step: 2 });
  const y = await adapted.forward(inputs);
  found.set('output', y.dataSync<'float32'>().slice());
  for (const { site, after } of await clusterMaps(adapted, inputs)) found.set(`map of ${site}`, Float32Array.from(after.flat().flatMap((row) => [...row])));
  y.dispose();
  adapted.dispose();
  model.dispose();
  disposeInputs(inputs);
  return found;
}

describe.each(['wasm', 'onnx'])('on %s', (backend) => {
  it.each(cases)('%j has the numbers of cpu', async (options) => {
    await useCpu();
    const wanted = await numbers(options);
    await selectBackend(backend);
    const found = await numbers(options);
    expect([...found.keys()]).toEqual([...wanted.keys()]);
    // What a softmax's keys are moved by has no gradient but rounding.
    for (const [name, x] of wanted) if (!name.endsWith('key.bias')) toBeAllClose(found.get(name)!, x, { absolute: 1e-5, relative: 1e-4 }, name);
  });
});

describe('a recorded step', () => {
  it.each(cases)('of %j is replayed with the numbers of a traced one, bit for bit', async (options) => {
    await useOnnx();
    const teach = async (capture: boolean) => {
      const model = tinyTwoStream({ dropout: 0.2 });
      const adapted = adapt(model, [gift({ rank: 4, ...options })]);
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
