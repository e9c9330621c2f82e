import { add, gelu, layerNorm, matMul, primal, random, reshape, scale, softmax, transpose, type Value } from '@espalier/core';
import * as tf from '@tensorflow/tfjs';

/** A stack of BERT layers. */
export interface Shape {
  readonly width: number;
  readonly heads: number;
  readonly inner: number; // of the feed-forward half
  readonly layers: number;
  readonly batch: number;
  readonly tokens: number;
}

/** Its arrays, on the backend that was in force when it was made: drawn by a seed, so that all backends have the same. */
export interface Network {
  readonly variables: readonly tf.Variable[]; // 16 per layer
  readonly x: tf.Tensor; // [B T, D]
  readonly target: tf.Tensor;
  loss(x: tf.Tensor, target: tf.Tensor): tf.Scalar;
}

export function network(shape: Shape): Network {
  const { width, heads, inner, layers, batch, tokens } = shape;
  const draw = random('bench', 'network', width, layers);
  const drawn = (of: number[], deviation: number, mean = 0) => {
    const values = Float32Array.from({ length: of.reduce((a, b) => a * b, 1) }, () => mean + deviation * draw.normal());
    return tf.tensor(values, of);
  };
  const variable = (of: number[], deviation: number, mean = 0) => {
    const initial = drawn(of, deviation, mean);
    const made = tf.variable(initial);
    initial.dispose();
    return made;
  };
  const linear = (from: number, to: number) => ({ kernel: variable([from, to], 0.04), bias: variable([to], 0.02) });
  const norm = () => ({ gamma: variable([width], 0.1, 1), beta: variable([width], 0.02) });
  const blocks = Array.from({ length: layers }, () => ({
    query: linear(width, width), key: linear(width, width), value: linear(width, width), output: linear(width, width), norm1: norm(),
    up: linear(width, inner), down: linear(inner, width), norm2: norm(),
  }));
  const apply = (x: Value, { kernel, bias }: ReturnType<typeof linear>) => add(matMul(x, kernel), bias);
  const split = (x: Value) => transpose(reshape(x, [batch, tokens, heads, width / heads]), [0, 2, 1, 3]);
  const block = (x: Value, w: (typeof blocks)[number]): Value => {
    const [q, k, v] = [w.query, w.key, w.value].map((l) => split(apply(x, l))) as [Value, Value, Value]; // as many as are listed
    const p = softmax(scale(matMul(q, k, false, true), 1 / Math.sqrt(width / heads)));
    const context = reshape(transpose(matMul(p, v), [0, 2, 1, 3]), [batch * tokens, width]);
    const h = layerNorm(add(apply(context, w.output), x), w.norm1.gamma, w.norm1.beta);
    return layerNorm(add(apply(gelu(apply(h, w.up)), w.down), h), w.norm2.gamma, w.norm2.beta);
  };
  return {
    variables: blocks.flatMap((w) => Object.values(w).flatMap((part): tf.Variable[] => Object.values(part))),
    x: drawn([batch * tokens, width], 1),
    target: drawn([batch * tokens, width], 1),
    loss: (x, target) => tf.mean<tf.Scalar>(tf.mul(primal(blocks.reduce(block, x as Value)), target)),
  };
}

/** A matrix product of the step, as it is asked for. */
export interface Product {
  readonly a: readonly number[];
  readonly b: readonly number[];
  readonly transposeA: boolean;
  readonly transposeB: boolean;
}

/** The products of one training step, forward and backward, with the transposes that their gradients have. */
export function productsOf({ width, heads, inner, layers, batch, tokens }: Shape): Product[] {
  const rows = batch * tokens;
  const side = [batch, heads, tokens, width / heads];
  const square = [batch, heads, tokens, tokens];
  const of = (a: readonly number[], b: readonly number[], flags = ''): Product => ({ a, b, transposeA: flags === 'a', transposeB: flags === 'b' });
  const linear = (from: number, to: number, first = false) => [
    of([rows, from], [from, to]),
    of([rows, from], [rows, to], 'a'), // towards the kernel
    ...(first ? [] : [of([rows, to], [from, to], 'b')]), // towards x, which at the very first is no variable
  ];
  const attention = [of(side, side, 'b'), of(square, side), of(square, side), of(square, side, 'a'), of(side, side, 'b'), of(square, side, 'a')];
  return Array.from({ length: layers }, (_, i) => [
    ...[1, 2, 3].flatMap(() => linear(width, width, i === 0)), ...attention, ...linear(width, width), ...linear(width, inner), ...linear(inner, width),
  ]).flat();
}

/** Multiply-adds. */
export const macsOf = (products: readonly Product[]): number =>
  products.reduce((sum, { a, b, transposeA, transposeB }) => {
    const size = a.reduce((x, y) => x * y, 1);
    const [n] = transposeB ? b.slice(-2, -1) : b.slice(-1);
    if (transposeA && a.at(-2) !== b.at(transposeB ? -1 : -2)) throw new Error('a product of sides that do not fit');
    return sum + size * n!;
  }, 0);
