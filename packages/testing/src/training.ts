import * as tf from '@tensorflow/tfjs';
import { denseGradient, evaluate, finish, random, startStep, tidy, type Adapted, type LearnOptions, type StepOptions } from '@espalier/core';
import { disposeInputs, tinyInputs, type TinyInputs } from './inputs.ts';

/** A target for entry i of an output: something that no output is by chance. */
const targetOf = (i: number) => Math.sin(1.7 * i + 0.3);

/** mean((y - target)^2) / 2 against fixed targets; any shape. */
export const tinyLoss = (y: tf.Tensor): tf.Scalar =>
  tidy(() => tf.mul(0.5, tf.mean(tf.square(tf.sub(y, tf.tensor(Float32Array.from({ length: y.size }, (_, i) => targetOf(i)), y.shape))))));

/** The same loss with auxiliary losses, summed in double precision from one forward pass. */
export async function lossOf(adapted: Adapted<TinyInputs>, inputs: TinyInputs, options: StepOptions): Promise<number> {
  const step = startStep(adapted.plan, inputs, adapted.model.batch(inputs), options);
  try {
    for (const { hook } of adapted.plan.begins) await hook.apply(step);
    const values = tf.tidy(() => evaluate(adapted.model.forward(inputs, step)).dataSync<'float32'>());
    const task = values.reduce((total, y, i) => total + (y - targetOf(i)) ** 2, 0) / 2 / values.length;
    return [...step.shared.losses.values()].reduce((total, x) => total + x.dataSync()[0]!, task);
  } finally {
    finish(step);
  }
}

/** Gradients by variable name, read to the host. */
export async function gradientsOf(adapted: Adapted<TinyInputs>, inputs: TinyInputs, options: LearnOptions = {}): Promise<Map<string, Float32Array>> {
  const learned = await adapted.learn(inputs, tinyLoss, options);
  const found = new Map<string, Float32Array>();
  for (const [name, g] of learned.gradients) found.set(name, g.dataSync<'float32'>().slice());
  learned.dispose();
  return found;
}

/** Plain gradient descent; returns the loss before every step. */
export async function train(adapted: Adapted<TinyInputs>, inputs: TinyInputs, steps: number, { seed = 0, rate = 0.05 } = {}): Promise<number[]> {
  const losses: number[] = [];
  for (let step = 0; step < steps; step++) {
    const learned = await adapted.learn(inputs, tinyLoss, { seed, step });
    losses.push(learned.loss.dataSync()[0]!);
    for (const [name, g] of learned.gradients) {
      const { variable } = adapted.parameters.get(name)!;
      tf.tidy(() => variable.assign(tf.sub(variable, tf.mul(g, rate))));
    }
    learned.dispose();
  }
  return losses;
}

/** Moves variables away from the special values they start with, zeros above all: v + deviation N(0, 1), keyed by name. */
export function jitter(adapted: Adapted<TinyInputs>, { seed = 0, deviation = 0.2 } = {}): void {
  for (const { path, variable } of adapted.parameters.values()) {
    const generator = random(seed, 'jitter', path);
    const change = Float32Array.from({ length: variable.size }, () => deviation * generator.normal());
    tf.tidy(() => variable.assign(tf.add(variable, tf.tensor(change, variable.shape))));
  }
}

/** What variables hold, by name. */
export const snapshot = (adapted: Adapted<TinyInputs>, keep: (name: string) => boolean = () => true): Map<string, Float32Array> =>
  new Map([...adapted.parameters.values()].filter(({ path }) => keep(path)).map(({ path, variable }) => [path, variable.dataSync<'float32'>().slice()]));

/**
 * A few steps of gradient descent by a learner, each on a batch of its own: losses and other scalars of every step, and how
 * the last one was run. With and without `capture` the numbers must be the same bits.
 */
export async function taughtBySteps(adapted: Adapted<TinyInputs>, { capture, steps = 4, rate = 0.05 }: { readonly capture: boolean; readonly steps?: number; readonly rate?: number }) {
  const learner = adapted.learner<undefined>({ loss: (y) => tinyLoss(y), capture });
  const found: number[] = [];
  for (let step = 0; step < steps; step++) {
    const inputs = tinyInputs({ seed: step });
    const lesson = await learner.learn(inputs, undefined, { seed: 1, step, samples: ['a', 'b', 'c'] });
    found.push(...lesson.scalars.dataSync());
    for (const [path, g] of lesson.gradients) {
      const { variable } = adapted.parameters.get(path)!;
      tf.tidy(() => variable.assign(tf.sub(variable, tf.mul(denseGradient(g), rate))));
    }
    lesson.dispose();
    disposeInputs(inputs);
  }
  const { last, refused } = learner;
  learner.dispose();
  return { found, last, refused };
}
