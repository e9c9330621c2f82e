import * as tf from '@tensorflow/tfjs';
import { adapt, around, begin, zeros, type Plugin } from '@espalier/core';
import { beforeAll, describe, expect, it } from 'vitest';
import { useCpu } from './backend.ts';
import { outputOf } from './check-output.ts';
import { inline } from './inline.ts';
import { disposeInputs, tinyInputs } from './inputs.ts';
import { toLeakNothing } from './matchers.ts';
import { tinyOneStream, tinyTwoStream } from './tiny.ts';
import { tinyLoss } from './training.ts';

beforeAll(useCpu);

describe('what a policy builds on', () => {
  it.each([tinyOneStream, tinyTwoStream])('a small model over the same inputs, run inside a step without hooks: %o', (make) =>
    toLeakNothing(async () => {
      const [model, inputs] = [make(), tinyInputs()];
      const shapes: (readonly number[])[] = [];
      const policy = inline('policy', (host) => {
        const own = host.model.build!(5, (path, shape) => host.variable(path, shape, zeros, 'policy').variable);
        return [begin((step) => tf.tidy(() => void shapes.push(own.forward(step.inputs, step.bare()).shape)))];
      });
      const adapted = adapt(model, [policy]);
      expect(adapted.trainable.every((p) => p.group === 'policy')).toBe(true);
      await outputOf(adapted, inputs);
      expect(shapes).toEqual([[3, 5]]);
      adapted.dispose();
      model.dispose();
      disposeInputs(inputs);
    }));

  it('the streams before a block, as in prediction', () =>
    toLeakNothing(async () => {
      const [model, inputs] = [tinyTwoStream(), tinyInputs()];
      const seen: Float32Array[] = [];
      const reader = inline('reader', (host) => [
        begin((step) =>
          tf.tidy(() => {
            const streams = host.model.encode!(step.inputs, step.with({ range: [0, 1], training: false }));
            for (const s of Object.values(streams)) if (s.hidden instanceof tf.Tensor) seen.push(s.hidden.dataSync<'float32'>().slice());
          }),
        ),
      ]);
      const adapted = adapt(model, [reader]);
      await outputOf(adapted, inputs);
      await outputOf(adapted, inputs, { training: true, seed: 3 });
      expect(seen).toHaveLength(4);
      expect(seen.slice(2)).toEqual(seen.slice(0, 2)); // no dropout in this view
      adapted.dispose();
      model.dispose();
      disposeInputs(inputs);
    }));

  it('embeddings, which in prediction are computed once for a policy and the pass behind it', () =>
    toLeakNothing(async () => {
      const [model, inputs] = [tinyTwoStream(), tinyInputs()];
      const reader = inline('reader', (host) => [begin((step) => tf.tidy(() => void host.model.encode!(step.inputs, step.with({ variant: 'pretrained', range: [0, 0], training: false }))))]);
      const lookups = async (plugins: readonly Plugin[], training: boolean) => {
        const adapted = adapt(model, plugins);
        const { kernels } = await tf.profile(async () => {
          await outputOf(adapted, inputs, { training });
          return [];
        });
        adapted.dispose();
        return kernels.filter((k) => k.name === 'GatherV2').length;
      };
      const once = await lookups([], false);
      expect(once).toBeGreaterThan(0);
      expect(await lookups([reader], false)).toBe(once);
      expect(await lookups([reader], true)).toBe(2 * once);
      model.dispose();
      disposeInputs(inputs);
    }));

  it('a stage run as in prediction inside a training step', () =>
    toLeakNothing(async () => {
      const [model, inputs] = [tinyOneStream(), tinyInputs()];
      const still = inline('still', (host) => [around(host.stages({ role: 'encoder' })[0]!, 'edit', (run, s) => run(s, { training: false }))]);
      const calm = adapt(tinyOneStreamWithoutDropout(model), []);
      const adapted = adapt(model, [still]);
      const blocks = async (plugins: readonly Plugin[]) => {
        const one = adapt(model, plugins);
        const y = await outputOf(one, inputs, { training: true });
        one.dispose();
        return y;
      };
      expect(await blocks([still])).not.toEqual(await blocks([])); // the embedding's own dropout is all that is left
      expect(await outputOf(adapted, inputs)).toEqual(await outputOf(calm, inputs, { training: true }));
      adapted.dispose();
      model.dispose();
      disposeInputs(inputs);
    }));

  it('a gradient from the task\'s loss alone', () =>
    toLeakNothing(async () => {
      const [model, inputs] = [tinyOneStream(), tinyInputs()];
      const scorer = inline('scorer', (host) => {
        const at = host.variable('x', [1], zeros, 'policy');
        const slot = host.slot<tf.Tensor>('unread');
        return [begin((step) => step.decide(slot, { value: tf.tidy(() => tf.zeros([3])), backward: () => ({}), score: (task) => ({ [at.path]: tf.mul(tf.ones([1]), task) }) }))];
      });
      const adapted = adapt(model, [scorer]);
      const learned = await adapted.learn(inputs, tinyLoss);
      const learner = adapted.learner<undefined>({ loss: (y) => tinyLoss(y) });
      const lesson = await learner.learn(inputs, undefined, { seed: 0, step: 0, samples: ['0', '1', '2'] });
      const gradient = lesson.gradients.get('scorer/x');
      expect(gradient instanceof tf.Tensor && gradient.dataSync()[0]).toBe(learned.losses.get('task')!.dataSync()[0]);
      expect(learned.gradients.get('scorer/x')!.dataSync()[0]).toBe(learned.losses.get('task')!.dataSync()[0]);
      lesson.dispose();
      learner.dispose();
      learned.dispose();
      adapted.dispose();
      model.dispose();
      disposeInputs(inputs);
    }));
});

/** The same arrays in a model that drops nothing. */
const tinyOneStreamWithoutDropout = ({ tensors }: ReturnType<typeof tinyOneStream>) => tinyOneStream({ dropout: 0, tensors: (path) => tensors.get(path)! });
