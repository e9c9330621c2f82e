import * as tf from '@tensorflow/tfjs';
import { adapt, tensorsIn, type ActivationStore, type Adapted, type Plugin } from '@espalier/core';
import { answerLoss } from '@espalier/train';
import { tune } from '@espalier/tune';
import { backbone, disposeModel, initialised, type VqaModel } from '@espalier/vl-models';
import { z } from 'zod';
import { madeUpBatch } from './batch.ts';
import { inProcessOfItsOwn, peakMemory } from './memory.ts';

/** How often two sides take turns, and how many calls a turn is. */
export interface Turns {
  readonly pairs: number;
  readonly each: number;
}

/** The size of a backbone and how many samples a batch holds. */
export interface Scale {
  readonly size: 'small' | 'base';
  readonly batch: number;
}

/** What a bench that uses `setUp` takes beside its own options. */
export const scaleOptions = { size: { type: 'string', default: 'small' }, batch: { type: 'string', default: '32' } } as const;

/** Reads what `scaleOptions` took. Throws if there is no such size. */
export function scaleOf(values: { readonly size: string; readonly batch: string }): Scale {
  return z.object({ size: z.enum(['small', 'base']), batch: z.coerce.number().int().positive() }).parse(values);
}

/** A backbone and a made-up batch for it. */
export interface Setup {
  readonly model: VqaModel<unknown>;
  readonly inputs: unknown;
  readonly targets: tf.Tensor2D;
  readonly batch: ReturnType<typeof madeUpBatch>;
  dispose(): void;
}

export function setUp(name: string, { size, batch: samples }: Scale): Setup {
  const kind = backbone(name);
  const model = kind.build(kind.sizes[size], initialised(0));
  const batch = madeUpBatch({ batch: samples, features: model.featureSize });
  const [inputs, targets] = [model.inputs(batch), tf.tensor2d(batch.targets, [batch.ids.length, batch.answers])];
  const dispose = () => {
    tf.dispose([targets, ...tensorsIn(inputs)]);
    disposeModel(model.scope);
  };
  return { model, inputs, targets, batch, dispose };
}

/** Forward passes, one a call, of one step after another. */
export function passing(adapted: Adapted<unknown>, { inputs, batch }: Setup) {
  let step = 0;
  return async () => {
    const y = await adapted.forward(inputs, { samples: batch.ids, step: step++ });
    await y.data();
    y.dispose();
  };
}

/** Gradients of plugins beside a new answer head, one step a call, without the optimiser. */
export function learning({ model, inputs, targets, batch }: Setup, plugins: readonly Plugin[], cache?: ActivationStore) {
  const adapted = adapt(model, [...plugins, tune({ preset: 'head', answers: batch.answers }, { as: 'head' })]);
  const learner = adapted.learner<tf.Tensor2D>({ loss: answerLoss, cache });
  let step = 0;
  return {
    run: async () => {
      const lesson = await learner.learn(inputs, targets, { seed: 0, step: step++, samples: batch.ids });
      await lesson.scalars.data();
      lesson.dispose();
    },
    dispose: () => {
      learner.dispose();
      adapted.dispose();
    },
  };
}

const Memory = z.strictObject({ idle: z.number(), peak: z.number() });
const STEPS = { small: 40, base: 6 };

/** Prints resident memory at the peak of training sides against the first one, each in a process of its own: `bench --backbones NAME --child SIDE`. */
export async function comparePeaks(bench: string, name: string, { size, batch }: Scale, sides: readonly string[], goal: number): Promise<void> {
  const of = (side: string) => inProcessOfItsOwn([bench, '--backbones', name, '--size', size, '--batch', String(batch), '--child', side], Memory);
  const base = await of(sides[0]!);
  const MB = (bytes: number) => (bytes / 1e6).toFixed(0);
  for (const side of sides.slice(1)) {
    const own = await of(side);
    const ratio = own.peak / base.peak;
    console.log(`${`${name}, ${side}, memory`.padEnd(44)} ${ratio.toFixed(3)}${ratio > goal ? ' MISSED' : ''}  (goal ${goal}; ${MB(own.peak)} / ${MB(base.peak)} MB at the peak of ${STEPS[size]} steps, ${MB(own.idle)} / ${MB(base.idle)} before)`);
  }
}

/** What the child process does: trains with garbage collected after every step, and prints its memory. */
export async function printPeak(setup: Setup, { size }: Scale, plugins: readonly Plugin[]): Promise<void> {
  const idle = process.memoryUsage.rss();
  const { run } = learning(setup, plugins);
  for (let i = 0; i < STEPS[size]; i++) {
    await run();
    globalThis.gc?.();
  }
  console.log(JSON.stringify({ idle, peak: await peakMemory() }));
}
