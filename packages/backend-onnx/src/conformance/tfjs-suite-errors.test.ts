import * as tf from '@tensorflow/tfjs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { registerOnnx } from '../register.ts';

const NAME = 'onnx-errors';
let before: string;
beforeAll(async () => {
  before = tf.getBackend();
  registerOnnx({ name: NAME, threads: 1 });
  await tf.setBackend(NAME);
});
afterAll(async () => {
  await tf.setBackend(before || 'cpu');
  tf.removeBackend(NAME);
});

const at = (values: number[], shape: number[] = [values.length]) => tf.tensor(values, shape, 'int32');

/** Wrong calls that tfjs leaves to its kernels to refuse, and what must be said. */
const wrong: readonly [string, () => unknown, RegExp][] = [
  ['concat of unlike shapes', () => tf.concat([tf.ones([2, 2]), tf.ones([1, 2])], 1), /concat2D: Shape of tensors\[1\] \(1,2\) does not match/],
  ['concat of unlike ranks', () => tf.concat([tf.ones([2, 2]), tf.ones([2])], 0), /concat2D: rank of tensors\[1\]/],
  ['stack of unlike shapes', () => tf.stack([tf.ones([2]), tf.ones([3])]), /passed to stack must have matching shapes/],
  ['expandDims before the first axis', () => tf.expandDims(tf.ones([2]), -3), /Axis must be in the interval \[-2, 1\], not -3/],
  ['matMul with a vector', () => tf.matMul(tf.ones([2, 3]), tf.ones([3])), /matMul: \[2, 3\] and \[3\] must have rank 2 or more/],
  ['matMul of unlike inner sizes', () => tf.matMul(tf.ones([2, 3]), tf.ones([2, 3])), /matMul: inner shapes \(3\) and \(2\) of \[2, 3\] and \[2, 3\]/],
  ['gather beyond the end', () => tf.gather(tf.ones([2]), at([0, 2])), /GatherV2: the index value 2 is not in \[0, 1\] \(position 1\)/],
  ['gather of a negative index', () => tf.gather(tf.ones([2]), at([-1])), /GatherV2: the index value -1/],
  ['gatherND of a scalar', () => tf.gatherND(tf.scalar(1), at([0], [1, 1])), /rank 1 or higher/],
  ['gatherND deeper than its array', () => tf.gatherND(tf.ones([2]), at([0, 0], [1, 2])), /innermost dimension length must be <= tensor rank/],
  ['gatherND of a negative index', () => tf.gatherND(tf.ones([2, 2]), at([0, 0, 1, -1], [2, 2])), /GatherNd: Invalid indices: 1,-1 \(row 1\) does not index into 2,2/],
  ['scatterND of a negative index', () => tf.scatterND(at([0, -1], [1, 2]), tf.ones([1]), [4, 2]), /ScatterNd: Invalid indices: 0,-1 \(row 0\) does not index into 4,2/],
  ['segment sum with an id too few', () => tf.unsortedSegmentSum(tf.ones([3]), tf.tensor1d([0, 1], 'int32'), 2), /2 segment ids for 3 rows/],
];

describe('a wrong call is refused where it is made, in lazy mode too', () => {
  it.each(wrong)('%s', (_, call, message) => {
    expect(() => tf.tidy(() => void call())).toThrow(message);
  });
});
