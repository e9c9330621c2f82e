import * as tf from '@tensorflow/tfjs';
import { exactly, floats, ints, positions } from './givens.ts';
import type { OpCase } from './op-cases.ts';

export const indexingCases: readonly OpCase[] = [
  { name: 'gather rows', inputs: [floats([5, 3]), positions([4], 5)], f: (x, i) => tf.gather(x!, i as tf.Tensor1D) },
  { name: 'gather columns', inputs: [floats([2, 5]), positions([2, 2], 5)], f: (x, i) => tf.gather(x!, i as tf.Tensor2D, 1) },
  { name: 'gather of integers', inputs: [ints([5]), positions([3], 5)], f: (x, i) => tf.gather(x!, i as tf.Tensor1D) },
  { name: 'gather in batches', inputs: [floats([2, 4]), positions([2, 3], 4)], f: (x, i) => tf.gather(x!, i as tf.Tensor2D, 1, 1) },
  { name: 'gatherND', inputs: [floats([3, 4, 2]), exactly([0, 1, 2, 3, 1, 1], [3, 2], 'int32')], f: (x, i) => tf.gatherND(x!, i!) },
  { name: 'gatherND of rows', inputs: [ints([3, 2]), exactly([2, 0], [2, 1], 'int32')], f: (x, i) => tf.gatherND(x!, i!) },
  { name: 'scatterND adds', inputs: [exactly([0, 2, 0], [3, 1], 'int32'), floats([3, 2])], f: (i, x) => tf.scatterND(i!, x!, [4, 2]) },
  { name: 'scatterND of integers', inputs: [exactly([0, 2, 0], [3, 1], 'int32'), ints([3])], f: (i, x) => tf.scatterND(i!, x!, [4]) },
  { name: 'scatterND in depth', inputs: [exactly([0, 1, 2, 3], [2, 2], 'int32'), floats([2, 2])], f: (i, x) => tf.scatterND(i!, x!, [3, 4, 2]) },
  { name: 'segment sum', inputs: [floats([4, 2]), exactly([0, 2, 0, 1], [4], 'int32')], f: (x, i) => tf.unsortedSegmentSum(x!, i as tf.Tensor1D, 3) },
  { name: 'segment sum drops negative ids', inputs: [floats([4, 2]), exactly([-1, 2, 0, 5], [4], 'int32')], f: (x, i) => tf.unsortedSegmentSum(x!, i as tf.Tensor1D, 3) },
  { name: 'one-hot', inputs: [positions([2, 3], 4)], f: (i) => tf.oneHot(i!, 4) },
  { name: 'one-hot of floats', inputs: [positions([3], 4)], f: (i) => tf.oneHot(i!, 4, 2, -1, 'float32') },
  { name: 'one-hot of what is outside', inputs: [exactly([-1, 0, 9], [3], 'int32')], f: (i) => tf.oneHot(i!, 4, 1, 0, 'float32') },
  ...(['int32', 'float32', 'bool'] as const).map((dtype): OpCase => ({ name: `one-hot of a scalar as ${dtype}`, inputs: [exactly([2], [], 'int32')], f: (i) => tf.oneHot(i!, 4, 1, 0, dtype) })),
  { name: 'one-hot of booleans', inputs: [positions([3], 2)], f: (i) => tf.oneHot(i!, 2, 1, 0, 'bool') },
  { name: 'zeros, ones, fill', inputs: [floats([2])], f: (x) => [tf.add(tf.zeros([2]), x!), tf.mul(tf.ones([2]), x!), tf.add(tf.fill([2], 2.5), x!)] },
  { name: 'zerosLike and onesLike', inputs: [ints([2, 2])], f: (x) => [tf.zerosLike(x!), tf.onesLike(x!)] },
  { name: 'zeros of booleans', inputs: [floats([2])], f: (x) => tf.where(tf.zeros([2], 'bool'), x!, tf.neg(x!)) },
  { name: 'range and linspace', inputs: [floats([4])], f: (x) => [tf.add(tf.range(0, 4), x!), tf.add(tf.linspace(0, 1, 4), x!)] },
  { name: 'topk', inputs: [floats([2, 5])], f: (x) => Object.values(tf.topk(x!, 2)) },
  { name: 'eye', inputs: [floats([3, 3])], f: (x) => tf.add(tf.eye(3), x!) },
  { name: 'complex', inputs: [floats([3]), floats([3], 1)], f: (a, b) => [tf.real(tf.mul(tf.complex(a!, b!), tf.complex(b!, a!))), tf.imag(tf.complex(a!, b!))] },
  {
    name: 'gradient of an embedding', inputs: [floats([6, 3]), positions([2, 4], 6)],
    f: (x, i) => tf.grad((t) => tf.sum(tf.square(tf.gather(t, tf.reshape(i!, [-1]) as tf.Tensor1D))))(x!),
  },
  { name: 'gradient of a product', inputs: [floats([3, 4]), floats([4, 2], 1)], f: (a, b) => tf.grads((x, y) => tf.sum(tf.tanh(tf.matMul(x!, y!))))([a!, b!]) },
  {
    name: 'gradients of slices and joins', inputs: [floats([4, 4])],
    f: (a) => tf.grad((x) => tf.sum(tf.square(tf.concat([tf.slice(x, [0, 0], [2, 4]), tf.pad(tf.slice(x, [2, 1], [2, 3]), [[0, 0], [1, 0]])], 0))))(a!),
  },
  { name: 'gradient of softmax', inputs: [floats([3, 4])], f: (a) => tf.grad((x) => tf.sum(tf.square(tf.softmax(x))))(a!) },
  { name: 'gradient of max', inputs: [floats([3, 4])], f: (a) => tf.grad((x) => tf.sum(tf.max(x, 1)))(a!) },
];
