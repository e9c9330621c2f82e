import { readFileSync } from 'node:fs';
import { memoryCheckpoint } from '@espalier/checkpoints';
import { adapt, readSafetensors, type Adapted } from '@espalier/core';
import { useCpu, useOnnx } from '@espalier/testing';
import { tune } from '@espalier/tune';
import { backbone, disposeModel, loadModel } from '@espalier/vl-models';
import * as tf from '@tensorflow/tfjs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { z } from 'zod';
import type { StepEvent } from './events.ts';
import { fit } from './fit.ts';
import { answerLoss } from './losses.ts';
import { bertAdam, vlBertAdamW } from './methods.ts';
import { schedule } from './schedule.ts';

/*
 * Four updates of the reference models by the reference optimisers, in float64 from the same float32 weights. Float32 noise
 * of a gradient near zero is not small beside the gradient, and Adam moves by its sign: the tolerance of a variable after
 * four updates is relative to the variable's largest number.
 */

const numbers = z.array(z.number());
const Config = z.looseObject({
  hidden_dropout_prob: z.number().default(0),
  attention_probs_dropout_prob: z.number().default(0),
  train: z.looseObject({ lr: z.number(), t_total: z.number(), clip: z.number(), losses: numbers, grad_norms: numbers, lrs: numbers, no_grad: z.array(z.string()) }),
});

async function golden(kind: string, folder: string) {
  const read = (name: string) => readFileSync(new URL(`../../vl-models/fixtures/${folder}/${name}`, import.meta.url));
  const config = Config.parse(JSON.parse(read('config.json').toString()));
  const { tensors: io } = readSafetensors(read('io.safetensors'), 'io.safetensors');
  const { tensors } = readSafetensors(read('model.safetensors'), 'model.safetensors');
  const { inputsFrom } = backbone(kind);
  const { model } = await loadModel(backbone(kind), config, memoryCheckpoint(tensors, folder));
  // The goldens of LXMERT were trained with every region seen.
  const inputs = () => inputsFrom(new Map([...io].filter(([name]) => name !== 'visual_attention_mask')), config);
  const labels = io.get('labels')!;
  const targets = () => tf.tensor2d(Float32Array.from(labels.data, Number), [labels.shape[0]!, labels.shape[1]!]);
  return { model, inputs, targets, io, keyOf: model.keyOf, course: config.train };
}

const CASES = [
  ['LXMERT with bertAdam', 'lxmert', 'lxmert-tiny', bertAdam(), schedule({ shape: 'linear', warmup: { fraction: 0.25 }, progress: 'before' })],
  ['VL-BERT with vlBertAdamW', 'vl-bert', 'vlbert-tiny', vlBertAdamW(), schedule({ shape: 'linear', warmup: { steps: 2 }, progress: 'after' })],
] as const;

describe.each([['cpu', useCpu], ['onnx', useOnnx]] as const)('on %s', (_, use) => {
  beforeAll(use);
  afterAll(useCpu);

  describe.each(CASES)('%s', async (_name, kind, folder, method, course) => {
    const g = await golden(kind, folder);
    const { lr, t_total, clip, losses, grad_norms, lrs, no_grad } = g.course;
    const steps: StepEvent[] = [];
    const start = new Map<string, Float32Array>();
    let adapted: Adapted<unknown>;
    afterAll(() => {
      adapted.dispose();
      disposeModel(g.model.scope);
    });

    beforeAll(async () => {
      adapted = adapt(g.model, [tune({ preset: 'all' }), tune({ preset: 'head' }, { as: 'head' })]);
      for (const p of adapted.trainable) start.set(p.path, p.variable.dataSync<'float32'>().slice());
      const task = {
        batches: async function* () {
          yield 0;
        },
        batchesPerEpoch: 1, inputs: g.inputs, targets: g.targets, samples: () => ['0', '1'], loss: answerLoss,
      };
      const run = fit(adapted, task, { maxSteps: t_total, clip, optimisers: { default: { method, rate: lr, schedule: course } } });
      run.events.subscribe((event) => {
        if (event.type !== 'step') return;
        steps.push(event);
        if (steps.length === lrs.length) run.stop();
      });
      await run.done;
    });

    const closeTo = (got: readonly number[], want: readonly number[], relative: number) => {
      expect(got).toHaveLength(want.length);
      got.forEach((x, i) => expect(Math.abs(x - want[i]!), `${x} for ${want[i]!}`).toBeLessThanOrEqual(relative * Math.abs(want[i]!)));
    };

    it('has the reference losses, gradient norms and rates', async () => {
      const logits = await adapted.forward(g.inputs());
      const last = answerLoss(logits, g.targets()).dataSync<'float32'>()[0]!;
      closeTo([...steps.map((s) => s.loss), last], losses, 1e-5);
      closeTo(steps.map((s) => s.gradientNorm), grad_norms, 1e-5);
      closeTo(steps.map((s) => s.learningRates['default']!), lrs, 1e-12);
    });

    const keyed = () => adapted.trainable.map((p) => ({ p, key: g.keyOf(p.path.slice(p.path.indexOf('/') + 1)) }));

    it('has the reference variables after four updates', () => {
      let found = 0;
      for (const { p, key } of keyed()) {
        const want = g.io.get(`after4:${key}`);
        if (!want) continue;
        found++;
        const got = tf.tidy(() => (p.path.endsWith('.kernel') ? tf.transpose(p.variable) : p.variable).dataSync<'float32'>());
        const values: ArrayLike<number | bigint> = want.data;
        const scale = Math.max(...Array.from(values, (x) => Math.abs(Number(x))));
        const worst = Math.max(...Array.from(got, (x, i) => Math.abs(x - Number(values[i]))));
        expect(worst / scale, key).toBeLessThan(1e-5);
      }
      expect(found).toBe([...g.io.keys()].filter((name) => name.startsWith('after4:')).length);
    });

    it('leaves alone exactly what the loss does not reach', () => {
      const idle = keyed().filter(({ p }) => p.variable.dataSync<'float32'>().every((x, i) => x === start.get(p.path)![i]));
      expect(idle.map(({ key }) => key).sort()).toEqual([...no_grad].sort());
    });
  });
});
