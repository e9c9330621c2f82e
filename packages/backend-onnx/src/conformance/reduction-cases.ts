import * as tf from '@tensorflow/tfjs';
import { bools, exactly, floats, ints, positive } from './givens.ts';
import type { OpCase } from './op-cases.ts';

type Reduce = (x: tf.Tensor, axis?: number | number[], keepDims?: boolean) => tf.Tensor;
const reductions: readonly [string, Reduce][] = [['sum', tf.sum], ['mean', tf.mean], ['max', tf.max], ['min', tf.min], ['prod', tf.prod]];

const product = (name: string, a: number[], b: number[], transposeA = false, transposeB = false): OpCase =>
  ({ name: `matMul ${name}`, inputs: [floats(a), floats(b, 1)], f: (x, y) => tf.matMul(x!, y!, transposeA, transposeB) });

export const reductionCases: readonly OpCase[] = [
  ...reductions.flatMap(([name, f]): OpCase[] => [
    { name: `${name} of all`, inputs: [positive([3, 4])], f: (x) => f(x!) },
    { name: `${name} over the last axis`, inputs: [floats([2, 3, 4])], f: (x) => f(x!, -1) },
    { name: `${name} over two axes, kept`, inputs: [floats([2, 3, 4, 2])], f: (x) => f(x!, [0, 2], true) },
    { name: `${name} of integers`, inputs: [ints([3, 4])], f: (x) => f(x!, 1) },
    { name: `${name} of a scalar`, inputs: [exactly([2.5], [])], f: (x) => f(x!) },
    { name: `${name} over no axis`, inputs: [floats([2, 2])], f: (x) => f(x!, []) },
  ]),
  { name: 'sum of booleans', inputs: [bools([2, 5])], f: (x) => tf.sum(x!, 1) },
  { name: 'sum of nothing', inputs: [exactly([], [0, 3])], f: (x) => tf.sum(x!, 0) },
  { name: 'max with NaN', inputs: [exactly([1, NaN, 3, 4, 5, 6], [2, 3])], f: (x) => tf.max(x!, 1) },
  { name: 'min with NaN first', inputs: [exactly([NaN, 1, 3, 4, 5, 6], [2, 3])], f: (x) => tf.min(x!, 1) },
  { name: 'all', inputs: [bools([3, 2])], f: (x) => tf.all(x!, 1) },
  { name: 'any, kept', inputs: [bools([3, 2])], f: (x) => tf.any(x!, 1, true) },
  { name: 'argMax', inputs: [floats([4, 5])], f: (x) => tf.argMax(x!, 1) },
  { name: 'argMin over the first axis', inputs: [floats([4, 5])], f: (x) => tf.argMin(x!, 0) },
  { name: 'argMax of equals', inputs: [exactly([1, 3, 3, 0])], f: (x) => tf.argMax(x!) },
  { name: 'argMax of integers', inputs: [ints([4, 5])], f: (x) => tf.argMax(x!, 1) },
  { name: 'cumsum', inputs: [floats([2, 5])], f: (x) => tf.cumsum(x!, 1) },
  { name: 'cumsum, exclusive, reversed', inputs: [floats([2, 5])], f: (x) => tf.cumsum(x!, 1, true, true) },
  { name: 'cumsum of integers', inputs: [ints([5])], f: (x) => tf.cumsum(x!) },
  { name: 'cumprod', inputs: [floats([5])], f: (x) => tf.cumprod(x!) },
  { name: 'softmax', inputs: [floats([2, 3, 7])], f: (x) => tf.softmax(x!) },
  { name: 'logSoftmax', inputs: [floats([3, 7])], f: (x) => tf.logSoftmax(x!) },
  { name: 'logSumExp', inputs: [floats([3, 7])], f: (x) => tf.logSumExp(x!, -1) },
  { name: 'moments', inputs: [floats([3, 7])], f: (x) => Object.values(tf.moments(x!, 1)) },
  { name: 'norm', inputs: [floats([3, 7])], f: (x) => tf.norm(x!) },
  product('2-D', [3, 4], [4, 5]),
  product("a'b", [4, 3], [4, 5], true),
  product("ab'", [3, 4], [5, 4], false, true),
  product("a'b'", [4, 3], [5, 4], true, true),
  product('batched', [2, 3, 3, 4], [2, 3, 4, 5]),
  product("batched ab'", [2, 3, 3, 4], [2, 3, 5, 4], false, true),
  product('broadcast over the batch', [2, 3, 4], [1, 4, 5]),
  product('one row', [1, 64], [64, 8]),
  product('long', [4, 512], [512, 3]),
  { name: 'matMul of integers', inputs: [ints([3, 4]), ints([4, 2], 1)], f: (a, b) => tf.matMul(a!, b!) },
  { name: 'matMul of nothing', inputs: [exactly([], [0, 4]), floats([4, 2])], f: (a, b) => tf.matMul(a!, b!) },
  { name: 'fused matMul', inputs: [floats([3, 4]), floats([4, 5], 1), floats([5], 2)], f: (a, b, bias) => tf.fused.matMul({ a: a!, b: b!, bias: bias!, activation: 'relu' }) },
  { name: 'fused matMul without bias', inputs: [floats([3, 4]), floats([5, 4], 1)], f: (a, b) => tf.fused.matMul({ a: a!, b: b!, transposeB: true, activation: 'sigmoid' }) },
  { name: 'einsum', inputs: [floats([2, 3]), floats([3, 4], 1)], f: (a, b) => tf.einsum('ij,jk->ik', a!, b!) },
  { name: 'conv2d', inputs: [floats([1, 5, 5, 2]), floats([3, 3, 2, 4], 1)], f: (x, k) => tf.conv2d(x as tf.Tensor4D, k as tf.Tensor4D, 1, 'same') },
];
