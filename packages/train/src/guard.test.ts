import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as tf from '@tensorflow/tfjs';
import { adapt, begin, definePlugin } from '@espalier/core';
import { toBeBitEqual, toLeakNothing, toRefuse, useCpu, useOnnx } from '@espalier/testing';
import { firstValueFrom, toArray } from 'rxjs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { tinyTraining, type TinyBatch } from '../fixtures/tiny-task.ts';
import { fit } from './fit.ts';
import { firstNonFinite, NonFiniteError } from './guard.ts';
import { answerLoss } from './losses.ts';
import { adamW } from './methods.ts';

const made = { directory: '' };
beforeAll(async () => {
  made.directory = await mkdtemp(join(tmpdir(), 'espalier-guard-'));
});
afterAll(() => rm(made.directory, { recursive: true }));

const optimisers = { default: { method: adamW(), rate: 1e-2 }, policy: { method: adamW(), rate: 1e-2 } };
/** Targets of the second epoch's second batch (step 5) are no numbers. */
const spoilt = () => {
  const seen = { batches: 0 };
  return (_batch: TinyBatch, targets: tf.Tensor2D): tf.Tensor2D => {
    if (++seen.batches !== 5) return targets;
    targets.dispose();
    return tf.fill<tf.Rank.R2>([4, 3], NaN);
  };
};

describe.each([['cpu', useCpu], ['onnx', useOnnx]] as const)('on %s', (backend, use) => {
  beforeAll(use);
  afterAll(useCpu);

  it('stops at a loss that is not a number, with the step, the loss and the last checkpoint, and the variables of before', async () => {
    const [t, good] = [tinyTraining({ spoil: spoilt() }), tinyTraining()];
    await fit(good.adapted, good.task, { maxSteps: 4, optimisers }).done;
    await toLeakNothing(async () => {
      const run = fit(t.adapted, t.task, { epochs: 3, optimisers, checkpoint: { directory: join(made.directory, backend), every: 2 } });
      const events = firstValueFrom(run.events.pipe(toArray()));
      const checkpoint = join(made.directory, backend, 'step-00000004');
      await toRefuse(() => run.done, NonFiniteError, 'step 5', "the loss 'task' is NaN", checkpoint);
      expect((await events).at(-1)).toMatchObject({ type: 'failed', step: 4, error: { step: 5, tensor: "the loss 'task'", checkpoint } });
    });
    for (const [path, x] of await t.variables()) toBeBitEqual(x, (await good.variables()).get(path)!, path);
    t.dispose();
    good.dispose();
  });

  it('names the variable whose gradient is not a number although the loss is one', async () => {
    const t = tinyTraining();
    const before = await t.variables();
    // The slope of the root is infinite at zero, and infinity times zero is no number.
    const loss = (output: tf.Tensor, targets: tf.Tensor2D): tf.Scalar => tf.add(answerLoss(output, targets), tf.sum(tf.sqrt(tf.mul(output, 0))));
    const message = await toRefuse(() => fit(t.adapted, { ...t.task, loss }, { epochs: 1, optimisers, accumulate: 2 }).done, NonFiniteError, 'step 1', 'the gradient of', 'is NaN at entry 0', 'no checkpoint');
    expect(t.adapted.trainable.some((p) => message.includes(`'${p.path}'`))).toBe(true);
    for (const [path, x] of await t.variables()) toBeBitEqual(x, before.get(path)!, path);
    t.dispose();
  });

  it('tells auxiliary losses apart, and adds them to the loss', async () => {
    const budget = definePlugin({
      name: 'budget', version: '0.1.0', hookApi: '1.0', options: z.strictObject({}),
      attach: () => [begin((step) => step.loss('budget', tf.scalar(step.shared.step === 3 ? Infinity : 0.5)))],
    });
    const t = tinyTraining();
    const adapted = adapt(t.adapted.model, [...t.adapted.plugins, budget()]);
    const run = fit(adapted, t.task, { epochs: 1, optimisers });
    const events = firstValueFrom(run.events.pipe(toArray()));
    await toRefuse(() => run.done, NonFiniteError, 'step 3', "the loss 'budget' is Infinity");
    const first = (await events)[1]!;
    expect(first).toMatchObject({ type: 'step', losses: { budget: 0.5 } });
    if (first.type === 'step') expect(first.loss).toBeCloseTo(first.losses.task! + 0.5, 6);
    adapted.dispose();
    t.dispose();
  });

  it('tells a norm too large for float32 from gradients that are no numbers', async () => {
    const t = tinyTraining();
    const loss = (output: tf.Tensor, targets: tf.Tensor2D): tf.Scalar => tf.mul(answerLoss(output, targets), 1e25);
    await toRefuse(() => fit(t.adapted, { ...t.task, loss }, { epochs: 1, optimisers }).done, NonFiniteError, 'the global gradient norm', 'though every gradient is finite');
    t.dispose();
  });

  it('finds the first entry that is not finite', async () => {
    expect(await firstNonFinite(new Map([['a', tf.tensor1d([1, 2])], ['b', tf.tensor1d([0, -Infinity, NaN])]]))).toEqual({ name: 'b', found: '-Infinity at entry 1' });
    expect(await firstNonFinite(new Map([['a', tf.tensor1d([1, 2])]]))).toBeUndefined();
  });
});
