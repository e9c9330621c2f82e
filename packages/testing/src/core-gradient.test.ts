import * as tf from '@tensorflow/tfjs';
import {
  adapt, addGradients, copyOf, denseGradient, gradientTensors, isRowGradient, mul, multiplyGradient, primal, squaredNormOf, value, weight, type Gradient, type Host, type RowGradient,
} from '@espalier/core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { useCpu, useOnnx } from './backend.ts';
import { inline } from './inline.ts';
import { disposeInputs, tinyInputs } from './inputs.ts';
import { toBeAllClose, toLeakNothing } from './matchers.ts';
import { tinyOneStream, tinyTwoStream } from './tiny.ts';
import { tinyLoss } from './training.ts';

const rows = (index: number[], values: number[][]): RowGradient => ({ index: tf.tensor1d(index, 'int32'), rows: tf.tensor2d(values), shape: [4, 2] });
const dense = (g: Gradient): number[] => [...denseGradient(g).dataSync()];

/** Every embedding is a variable; with `tied`, the words' table is read as a whole, too. */
const tables = (tied: boolean) =>
  inline('tables', (host: Host) => {
    const own = host.embeddings().map((w) => ({ w, table: host.variable(w.path, w.pretrained.table.shape, copyOf(primal(w.pretrained.table).dataSync<'float32'>())) }));
    const words = own.find(({ w }) => w.role === 'embed.words')!.table;
    return [
      ...own.map(({ w, table }) => weight(w, (_, step) => ({ table: step.read(table) }), { mode: 'replace' })),
      ...(tied ? host.sites({ role: 'logits' }).map((site) => value(site, (y) => mul(y, tf.mean(words.variable)))) : []),
    ];
  });

describe.each([['cpu', useCpu], ['onnx', useOnnx]] as const)('on %s', (_, use) => {
  beforeAll(use);
  afterAll(useCpu);

  it('rows of a table add up, scale and have a norm as the whole table does', () =>
    toLeakNothing(() => {
      tf.tidy(() => {
        const [a, b, c] = [rows([1, 3, 1], [[1, 2], [3, 4], [10, 20]]), rows([0, 1], [[5, 5], [1, 1]]), tf.ones([4, 2])];
        expect(dense(a)).toEqual([0, 0, 11, 22, 0, 0, 3, 4]);
        expect(dense(multiplyGradient(a, 2))).toEqual([0, 0, 22, 44, 0, 0, 6, 8]);
        expect(isRowGradient(addGradients(a, b))).toBe(true);
        expect(dense(addGradients(a, b))).toEqual([5, 5, 12, 23, 0, 0, 3, 4]);
        for (const both of [addGradients(a, c), addGradients(c, a)]) expect(dense(both)).toEqual([1, 1, 12, 23, 1, 1, 4, 5]);
        expect(squaredNormOf(a).dataSync()[0]).toBe(11 ** 2 + 22 ** 2 + 3 ** 2 + 4 ** 2);
        expect(squaredNormOf(c).dataSync()[0]).toBe(8);
        expect(gradientTensors(a)).toHaveLength(2);
      });
    }));

  it.each([['one stream', tinyOneStream, false], ['two streams', tinyTwoStream, false], ['one stream, tied', tinyOneStream, true]] as const)(
    "a learner's gradients of embeddings are rows that equal the tables' whole gradients: %s", (__, make, tied) =>
      toLeakNothing(async () => {
        // Words occur twice, and padding does.
        const [model, inputs] = [make(), tinyInputs({ lengths: [[5, 3], [3, 2], [4, 1]] })];
        const adapted = adapt(model, [tables(tied)]);
        const whole = await adapted.learn(inputs, tinyLoss);
        const learner = adapted.learner<undefined>({ loss: tinyLoss });
        for (let step = 0; step < 4; step++) {
          const lesson = await learner.learn(inputs, undefined, { seed: 0, step: 0, samples: ['0', '1', '2'] });
          expect([...lesson.gradients.keys()]).toEqual([...whole.gradients.keys()]);
          let norm = 0;
          for (const [path, g] of lesson.gradients) {
            expect(isRowGradient(g), path).toBe(!(tied && path.endsWith('embed.words')));
            const wanted = whole.gradients.get(path)!.dataSync<'float32'>();
            const found = denseGradient(g);
            toBeAllClose(found.dataSync<'float32'>(), wanted, { absolute: 1e-6, relative: 1e-5 });
            if (found !== g) found.dispose();
            norm += wanted.reduce((sum, x) => sum + x * x, 0);
          }
          expect(lesson.scalars.dataSync()[lesson.names.indexOf('squaredNorm')]! / norm).toBeCloseTo(1, 4);
          lesson.dispose();
        }
        learner.dispose();
        whole.dispose();
        adapted.dispose();
        model.dispose();
        disposeInputs(inputs);
      }),
  );
});
