import * as tf from '@tensorflow/tfjs';
import { adapt, measure, measurements, type Host } from '@espalier/core';
import { afterAll, expect, it } from 'vitest';
import { inline } from './inline.ts';
import { toLeakNothing } from './matchers.ts';
import { tinyModels } from './tiny-models.ts';

const { one, inputs } = await tinyModels(afterAll);
let runs = 0;
const counting = inline('counting', (host: Host) => {
  const slot = host.slot<tf.Tensor>('x');
  return [
    { kind: 'begin', apply: (step) => step.set(slot, tf.tensor2d(step.samples.map((s) => [Number(s), 0.5]))) },
    measure('number', [{ row: 'a', column: 'id' }, { row: 'a', column: 'half' }], (step) => (runs++, step.get(slot)), { probability: true }),
  ];
});

it('measures are numbers of samples, read after a pass and only when asked', async () => {
  const adapted = adapt(one, [counting]);
  (await adapted.forward(inputs)).dispose();
  expect(runs).toBe(0);
  await toLeakNothing(async () => {
    const found = await measurements(adapted, inputs, { samples: ['7', '8', '9'] });
    expect(found).toEqual([{
      instance: 'counting', name: 'number', of: [{ row: 'a', column: 'id' }, { row: 'a', column: 'half' }], probability: true,
      samples: ['7', '8', '9'], values: Float32Array.of(7, 0.5, 8, 0.5, 9, 0.5),
    }]);
  });
  expect(runs).toBe(1);
  expect(adapted.explain()).not.toContain('measure');
  expect(await measurements(adapt(one, []), inputs)).toEqual([]);
});
