import * as tf from '@tensorflow/tfjs';
import { adapt } from '@espalier/core';
import { beforeAll, describe, expect, it } from 'vitest';
import { useCpu } from './backend.ts';
import { disposeInputs, tinyInputs } from './inputs.ts';
import { tinyOneStream, tinyTwoStream } from './tiny.ts';

beforeAll(useCpu);

describe.each([tinyOneStream, tinyTwoStream])('%o', (make) => {
  it('gives logits [B, A] that depend on every sample', async () => {
    const model = make();
    const inputs = tinyInputs();
    const base = adapt(model, []);
    const t0 = performance.now();
    const y = await base.forward(inputs);
    console.log(performance.now() - t0);
    const t1 = performance.now();
    tf.dispose(await base.forward(inputs));
    console.log(performance.now() - t1, model.scope.points.stage.map((s) => `${s.path} ${s.role}`), [...model.tensors.keys()].length);
    y.print();
    expect(y.shape).toEqual([3, 3]);
    y.dispose();
    disposeInputs(inputs);
    model.dispose();
  });
});
