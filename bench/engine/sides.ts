import { Account, totalMacs } from '@espalier/core';
import * as tf from '@tensorflow/tfjs';
import { enter, type Place } from './backends.ts';
import { macsOf, network, productsOf, type Network, type Product, type Shape } from './network.ts';
import type { Side } from './rounds.ts';

/** Milliseconds on the clock, and of them inside ONNX Runtime. */
function timed(place: Place, work: () => void): { wall: number; inside: number } {
  const before = place.onnx?.statistics().runMilliseconds ?? 0;
  const start = performance.now();
  work();
  return { wall: performance.now() - start, inside: (place.onnx?.statistics().runMilliseconds ?? 0) - before };
}

const gradientsOf = (net: Network, x: tf.Tensor, target: tf.Tensor): tf.Tensor[] => {
  const { value, grads } = tf.variableGrads(() => net.loss(x, target), [...net.variables]);
  return [value, ...net.variables.map((v) => grads[v.name]!)];
};

/** A training step without its update: the loss, read, and the gradients of all variables. Gives `name` and `name inside`. */
export async function stepSide(name: string, place: Place, shape: Shape): Promise<Side> {
  await enter(place);
  const net = network(shape);
  return sideOf(name, place, () => gradientsOf(net, net.x, net.target));
}

/** The same, recorded once and replayed. */
export async function capturedSide(name: string, place: Place, shape: Shape): Promise<Side> {
  await enter(place);
  const net = network(shape);
  const step = place.onnx!.capture(([x, target]) => gradientsOf(net, x!, target!));
  const side = sideOf(name, place, () => step.call([net.x, net.target]));
  while (step.last !== 'replayed') await side();
  return side;
}

/** Onnx runs the step twice and counts the second: a training runs one graph again and again, and its threads are awake. */
const sideOf = (name: string, place: Place, step: () => tf.Tensor[]): Side => async () => {
  await enter(place);
  const run = () => {
    const results = step();
    results[0]!.dataSync();
    tf.dispose(results);
  };
  if (place.onnx) run();
  const { wall, inside } = timed(place, run);
  return { [name]: wall, [`${name} inside`]: inside };
};

/** The products alone, of prepared arrays, results included: inside ONNX Runtime where that is what computes, else by the clock. */
export async function productSide(name: string, place: Place, products: readonly Product[]): Promise<Side> {
  await enter(place);
  const sides = products.map((p) => ({ ...p, a: tf.randomNormal([...p.a], 0, 1, 'float32', 1), b: tf.randomNormal([...p.b], 0, 1, 'float32', 2) }));
  const multiply = ({ a, b, transposeA, transposeB }: (typeof sides)[number]) => tf.matMul(a, b, transposeA, transposeB);
  if (place.onnx?.mode !== 'eager')
    return async () => {
      await enter(place);
      const { wall, inside } = timed(place, () => {
        const results = sides.map(multiply);
        if (place.onnx) place.onnx.flush();
        else for (const r of results) r.dataSync();
        tf.dispose(results);
      });
      return { [name]: place.onnx ? inside : wall };
    };
  // Every graph has threads of its own. After another graph ran they sleep, or sit on this thread's core, and it takes
  // several runs until they share the work: each product runs some times in a row, and its fastest run counts.
  return async () => {
    await enter(place);
    let total = 0;
    for (const s of sides) total += Math.min(...Array.from({ length: IN_A_ROW }, () => timed(place, () => multiply(s).dispose()).inside));
    return { [name]: total };
  };
}
const IN_A_ROW = 6;

/** Multiply-adds of a step. @throws when the products that ran are not those of `productsOf`. */
export async function checkedMacs(place: Place, shape: Shape): Promise<number> {
  await enter(place);
  const net = network(shape);
  const counted = totalMacs(await Account.of(1, async () => tf.dispose(gradientsOf(net, net.x, net.target))));
  tf.dispose([net.x, net.target, ...net.variables]);
  const listed = macsOf(productsOf(shape));
  if (counted !== listed) throw new Error(`the step runs ${counted} multiply-adds, its list of products has ${listed}`);
  return counted;
}
