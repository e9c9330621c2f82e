import * as tf from '@tensorflow/tfjs';
import { expect, it } from 'vitest';
import { capture } from './capture.ts';
import { smallTraining } from './testing/small-training.ts';
import { withBackend } from './testing/backend.ts';

const STEPS = 8;

/** Losses of eight steps, then the first variable. */
async function losses(call: (step: (args: readonly tf.Tensor[]) => tf.Tensor[]) => (args: readonly tf.Tensor[]) => tf.Tensor[], before = () => {}): Promise<number[]> {
  const training = smallTraining();
  const run = call((args) => training.step(args));
  const found: number[] = [];
  for (let step = 0; step < STEPS; step++) {
    const args = training.inputs(step);
    const out = tf.tidy(() => run(args));
    before();
    found.push(out[0]!.dataSync()[0]!);
    tf.dispose([args, out]);
  }
  found.push(...training.variables[0]!.dataSync<'float32'>());
  training.dispose();
  return found;
}
const plain = (step: (args: readonly tf.Tensor[]) => tf.Tensor[]) => step;

async function expected(): Promise<number[]> {
  await tf.setBackend('cpu');
  return losses(plain);
}

const close = (found: readonly number[], wanted: readonly number[], tolerance: number) =>
  found.forEach((x, i) => expect(Math.abs(x - wanted[i]!), `number ${i}: ${x} instead of ${wanted[i]}`).toBeLessThan(tolerance));

it.each(['lazy', 'eager'] as const)('a small training has the losses and weights of cpu, in %s mode', async (mode) => {
  const wanted = await expected();
  await withBackend({ mode }, async () => close(await losses(plain), wanted, 1e-5));
});

it('a step is one graph: it runs when the loss is read', () =>
  withBackend({}, async (backend) => {
    const training = smallTraining();
    const args = training.inputs(0);
    for (const t of [...training.variables, ...args]) t.dataSync(); // what is made before
    const before = backend.statistics();
    const [loss] = tf.tidy(() => training.step(args));
    loss!.dataSync();
    const after = backend.statistics();
    expect(after.flushes - before.flushes).toBe(1);
    expect(after.operations - before.operations).toBeGreaterThan(150);
    expect(after.fallbacks).toEqual(before.fallbacks);
    tf.dispose([args, loss]);
    training.dispose();
  }));

it('a captured training is the lazy one bit for bit, is replayed from the third step on, and leaks nothing', async () => {
  const wanted = await expected();
  await withBackend({}, async (backend) => {
    const lazy = await losses(plain);
    const how: (string | undefined)[] = [];
    const tensors = tf.memory().numTensors;
    let captured: ReturnType<typeof capture> | undefined;
    const found = await losses(
      (step) => {
        captured = capture(backend, step);
        return (args) => captured!.call(args);
      },
      () => how.push(captured!.last),
    );
    expect(how).toEqual(['recorded', 'recorded', ...Array.from({ length: STEPS - 2 }, () => 'replayed')]);
    expect(found).toEqual(lazy);
    close(found, wanted, 1e-5);
    expect(tf.memory().numTensors).toBe(tensors);
    captured!.dispose();
  });
});
