import * as tf from '@tensorflow/tfjs';
import { bools, exactly, floats, ints } from './givens.ts';
import type { Given, OpCase } from './op-cases.ts';

const on = (name: string, x: Given, f: (x: tf.Tensor) => tf.Tensor | tf.Tensor[]): OpCase => ({ name, inputs: [x], f: (t) => f(t!) });
const kinds: readonly [string, (shape: readonly number[], salt?: number) => Given][] = [['floats', floats], ['integers', ints], ['booleans', bools]];

export const shapeCases: readonly OpCase[] = [
  ...kinds.flatMap(([kind, make]): OpCase[] => [
    on(`transpose of ${kind}`, make([2, 3, 4]), (x) => tf.transpose(x, [2, 0, 1])),
    on(`slice of ${kind}`, make([4, 5]), (x) => tf.slice(x, [1, 2], [2, -1])),
    on(`tile of ${kind}`, make([2, 3]), (x) => tf.tile(x, [2, 1])),
    on(`reverse of ${kind}`, make([2, 3]), (x) => tf.reverse(x, 1)),
    on(`split of ${kind}`, make([2, 6]), (x) => tf.split(x, [1, 2, 3], 1)),
    on(`unstack of ${kind}`, make([3, 2]), (x) => tf.unstack(x)),
    { name: `concat of ${kind}`, inputs: [make([2, 3]), make([2, 1], 1)], f: (a, b) => tf.concat([a!, b!], 1) },
    { name: `stack of ${kind}`, inputs: [make([2, 3]), make([2, 3], 1)], f: (a, b) => tf.stack([a!, b!], -1) },
    on(`reshape of ${kind}`, make([2, 6]), (x) => tf.add(tf.reshape(tf.cast(x, 'float32'), [3, 4]), 1)),
  ]),
  on('reverse of all axes', ints([2, 3]), (x) => tf.reverse(x)),
  on('reverse of no axis', floats([2, 3]), (x) => tf.mul(tf.reverse(x, []), 2)),
  on('transpose of rank 5', floats([2, 1, 3, 2, 2]), (x) => tf.transpose(x, [4, 3, 0, 2, 1])),
  on('slice to nothing', floats([4, 5]), (x) => tf.slice(x, [1, 2], [0, 3])),
  on('slice of rank 1', floats([7]), (x) => tf.slice(x, 2, 3)),
  on('split in equal parts', floats([4, 6]), (x) => tf.split(x, 3, 1)),
  on('unstack of the last axis', floats([2, 3, 4]), (x) => tf.unstack(x, 2)),
  { name: 'concat with nothing', inputs: [floats([2, 3]), exactly([], [0, 3])], f: (a, b) => tf.concat([a!, b!], 0) },
  { name: 'concat of three', inputs: [floats([1, 2]), floats([3, 2], 1), floats([2, 2], 2)], f: (...xs) => tf.concat(xs, 0) },
  on('pad', floats([2, 3]), (x) => tf.pad(x, [[1, 0], [2, 1]], 0.5)),
  on('pad of integers', ints([3]), (x) => tf.pad(x, [[1, 2]], 7)),
  on('mirror pad', floats([3, 4]), (x) => tf.mirrorPad(x, [[1, 1], [2, 0]], 'reflect')),
  on('broadcastTo', floats([3, 1]), (x) => tf.broadcastTo(x, [2, 3, 4])),
  on('expandDims from the back', floats([2, 3]), (x) => tf.mul(tf.expandDims(x, -3), 2)),
  on('expandDims and squeeze', floats([2, 3]), (x) => tf.squeeze(tf.mul(tf.expandDims(x, 1), 2), [1])),
  on('strided slice', floats([4, 6]), (x) => tf.stridedSlice(x, [0, 1], [4, 6], [2, 2])),
  on('strided slice backwards', floats([5]), (x) => tf.stridedSlice(x, [4], [-6], [-2])),
  on('strided slice with masks', floats([2, 3, 4]), (x) => tf.stridedSlice(x, [0, 1, 1], [2, 2, 3], [1, 1, 1], 1, 0, 0, 0, 2)),
  on('views of one array under two shapes', floats([2, 6]), (x) => {
    const y = tf.mul(x, 2);
    return [tf.sum(tf.reshape(y, [3, 4]), 0), tf.sum(y, 0), tf.reshape(y, [12])];
  }),
  on('reshape of nothing', exactly([], [0, 3]), (x) => tf.reshape(x, [3, 0])),
  on('clone', floats([3]), (x) => tf.clone(x)),
  on('depthToSpace', floats([1, 2, 2, 4]), (x) => tf.depthToSpace(x as tf.Tensor4D, 2, 'NHWC')),
];
