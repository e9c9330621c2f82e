import * as tf from '@tensorflow/tfjs';
import { random } from '@espalier/core';
import { distanceOf, toBeAllClose, toBeBitEqual, toLeakNothing } from './matchers.ts';
import type { Reasons, Scene } from './scene.ts';
import { gradientsOf, jitter, lossOf, snapshot, train } from './training.ts';

/** In the two-stream model nothing behind the last cross-attention reads the vision stream. */
const DEAD_ENDS: Reasons = [[/cross\.1\.(cross\.)?vision\./, "the last block's vision half never reaches the answer head"]];

const reasonFor = (name: string, reasons: Reasons = []) => reasons.find(([pattern]) => pattern.test(name))?.[1];
const isZero = (g: Float32Array | undefined) => !g || g.every((x) => x === 0);

/** Training steps move the plugin's variables and nothing else, bit for bit. */
export async function checkFrozen({ adapt, stack, mine, inputs, model, steps }: Scene): Promise<void> {
  const adapted = adapt(stack({ frozenPeer: true }));
  const arrays = [...model.tensors].map(([path, t]) => ({ path, t, before: t.dataSync().slice() }));
  const given = Object.values(inputs).map((t: tf.Tensor) => ({ t, before: t.dataSync().slice() }));
  const start = snapshot(adapted);
  await train(adapted, inputs, steps);
  for (const { path, t, before } of arrays) toBeBitEqual(t.dataSync(), before, `frozen array '${path}'`);
  for (const { t, before } of given) toBeBitEqual(t.dataSync(), before, 'inputs');
  let moved = 0;
  for (const [name, values] of snapshot(adapted)) {
    if (!mine(name)) toBeBitEqual(values, start.get(name)!, `variable '${name}' of a frozen plugin`);
    else if (distanceOf(values, start.get(name)!).distance > 0) moved++;
  }
  if (!moved) throw new Error('training moved no variable of the plugin');
}

/** Every variable gets a gradient, or is listed as one that gets none. */
export async function checkReached({ adapt, stack, mine, traits, inputs }: Scene): Promise<void> {
  const adapted = adapt(stack());
  jitter(adapted);
  const gradients = await gradientsOf(adapted, inputs);
  const listed = [...DEAD_ENDS, ...(traits.noGradient ?? [])];
  for (const name of [...adapted.parameters.keys()].filter(mine)) {
    const reason = reasonFor(name, listed);
    if (isZero(gradients.get(name)) && reason === undefined) throw new Error(`variable '${name}' gets no gradient; list it in noGradient with the reason, if there is one`);
    if (!isZero(gradients.get(name)) && reason !== undefined) throw new Error(`variable '${name}' gets a gradient, but noGradient lists it: ${reason}`);
  }
}

/**
 * Every variable's gradient against central differences, in a random direction over all of its entries: g . d equals
 * (L(v + e d) - L(v - e d)) / 2 e. Where that is not close, it is extrapolated from two steps e, whose difference also says
 * how far it can be trusted.
 */
export async function checkDifferences({ adapt, stack, mine, traits, peer, inputs }: Scene): Promise<void> {
  const adapted = adapt(stack());
  jitter(adapted);
  const options = { training: true, seed: 3, step: 1 };
  const gradients = await gradientsOf(adapted, inputs, options);
  const skipped = [...DEAD_ENDS, ...(traits.noGradient ?? []), ...(traits.estimated ?? [])];
  const all = [...adapted.parameters.values()].filter(({ path }) => mine(path) && reasonFor(path, skipped) === undefined);
  // Beside a peer a sample will do: the same variables have all been through it alone.
  const order = random('differences', adapted.plugins.length).permutation(all.length);
  const chosen = peer ? order.slice(0, 6).map((i) => all[i]!) : all;
  const rounding = 6e-5 * Math.max(1, Math.abs(await lossOf(adapted, inputs, options))); // some 1e-6 of the loss, over a step of 0.03
  for (const { path, variable } of chosen) {
    const g = gradients.get(path);
    if (!g) throw new Error(`variable '${path}' gets no gradient`);
    const size = Math.hypot(...g) / Math.sqrt(g.length); // what a random direction sees of the gradient
    const generator = random('direction', path);
    // Where rounding would hide that, the direction is the gradient's own.
    const direction = size > 10 * rounding || size === 0 ? Float32Array.from({ length: variable.size }, () => generator.normal()) : g;
    const length = Math.hypot(...direction);
    const start = variable.dataSync<'float32'>().slice();
    const lossAt = async (by: number) => {
      tf.tidy(() => variable.assign(tf.tensor(start.map((v, i) => v + (by * direction[i]!) / length), variable.shape)));
      return lossOf(adapted, inputs, options);
    };
    const slope = async (e: number) => ((await lossAt(e)) - (await lossAt(-e))) / (2 * e);
    const narrow = await slope(0.03);
    const found = g.reduce((total, x, i) => total + (x * direction[i]!) / length, 0);
    const close = (expected: number, doubt = 0) => Math.abs(found - expected) <= rounding + 0.01 * size + doubt;
    const extrapolated = close(narrow) ? narrow : (4 * narrow - (await slope(0.06))) / 3;
    await lossAt(0);
    if (!close(extrapolated, 0.5 * Math.abs(extrapolated - narrow)))
      throw new Error(`gradient of '${path}': along a direction it is ${found}, central differences say ${extrapolated}`);
  }
}

/** What runs outside the gradient, what is memoised and what is computed again changes no gradient. */
export async function checkShortcuts({ adapt, stack, inputs }: Scene): Promise<void> {
  const adapted = adapt(stack());
  jitter(adapted);
  const dense = await gradientsOf(adapted, inputs, { prefix: false });
  const ways = { prefix: {}, 'recompute without prefix': { prefix: false, recompute: true }, recompute: { recompute: true } };
  for (const [way, options] of Object.entries(ways)) {
    const found = await gradientsOf(adapted, inputs, options);
    for (const name of new Set([...dense.keys(), ...found.keys()])) {
      const [expected, actual] = [dense.get(name), found.get(name)];
      // A variable that the loss does not reach may be missing or zero.
      if (isZero(expected) && isZero(actual)) continue;
      if (!expected || !actual) throw new Error(`gradient of '${name}' with ${way}: ${actual ? 'there' : 'missing'}, plain run: ${expected ? 'there' : 'missing'}`);
      toBeAllClose(actual, expected, { relative: 5e-6, absolute: 1e-8 }, `gradient of '${name}' with ${way}`);
    }
  }
}

/** The same seed gives the same start and the same steps, bit for bit; another seed does not, where anything is drawn. */
export async function checkSeeds({ adapt, stack, mine, inputs, steps, traits }: Scene): Promise<void> {
  const run = async (seed: number) => {
    const adapted = adapt(stack(), seed);
    const start = snapshot(adapted);
    await train(adapted, inputs, 1, { seed });
    return { adapted, start, early: snapshot(adapted, mine) };
  };
  const finish = async ({ adapted }: Awaited<ReturnType<typeof run>>) => {
    await train(adapted, inputs, steps - 1, { seed: 5 });
    return snapshot(adapted, mine);
  };
  const [first, again, other] = [await run(5), await run(5), await run(6)];
  const [end, endAgain] = [await finish(first), await finish(again)];
  for (const [name, values] of first.start) toBeBitEqual(again.start.get(name)!, values, `start of '${name}' from the same seed`);
  for (const [name, values] of end) toBeBitEqual(endAgain.get(name)!, values, `'${name}' after ${steps} steps from the same seed`);
  if (!traits.seedless && [...first.early].every(([name, values]) => distanceOf(values, other.early.get(name)!).distance === 0)) throw new Error('another seed gives the same step');
}

/** Forward passes, training steps and disposal leave no tensor behind. */
export async function checkLeaks({ adapt, stack, inputs, steps }: Scene): Promise<void> {
  await toLeakNothing(async () => {
    const adapted = adapt(stack());
    await toLeakNothing(async () => {
      for (let i = 0; i < steps; i++) tf.dispose(await adapted.forward(inputs));
    }, `${steps} forward passes`);
    await toLeakNothing(() => train(adapted, inputs, steps), `${steps} training steps`);
    adapted.dispose();
  }, 'a whole life');
}
