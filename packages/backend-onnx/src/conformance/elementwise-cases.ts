import * as tf from '@tensorflow/tfjs';
import { awkward, bools, exactly, floats, ints, positive, unit } from './givens.ts';
import type { OpCase } from './op-cases.ts';

/** erf to double precision: its Taylor series, and 1 - exp(-x^2) where that is 1 anyway. */
function erf(x: number): number {
  if (Math.abs(x) > 4) return Math.sign(x);
  let term = x;
  let sum = x;
  for (let n = 1; n < 200; n++) {
    term *= (-x * x) / n;
    sum += term / (2 * n + 1);
  }
  return (2 / Math.sqrt(Math.PI)) * sum;
}

const exact: readonly [string, (x: tf.Tensor) => tf.Tensor, (x: number) => number, OpCase['inputs'][number]][] = [
  ['exp', tf.exp, Math.exp, floats([3, 5])],
  ['log', tf.log, Math.log, positive([3, 5])],
  ['log1p', tf.log1p, Math.log1p, exactly([1e-8, -1e-8, 1e-4, 0.5, -0.5, 3, 100])],
  ['log1p of infinity', tf.log1p, Math.log1p, exactly([Infinity, 0, -1])],
  ['sqrt', tf.sqrt, Math.sqrt, positive([7])],
  ['rsqrt', tf.rsqrt, (x) => 1 / Math.sqrt(x), positive([7])],
  ['reciprocal', tf.reciprocal, (x) => 1 / x, positive([7])],
  ['tanh', tf.tanh, Math.tanh, floats([4, 9])],
  ['sigmoid', tf.sigmoid, (x) => 1 / (1 + Math.exp(-x)), floats([4, 9])],
  ['erf', tf.erf, erf, floats([4, 9])],
  ['sin', tf.sin, Math.sin, floats([6])],
  ['cos', tf.cos, Math.cos, floats([6])],
  ['tan', tf.tan, Math.tan, unit([6])],
  ['asin', tf.asin, Math.asin, unit([6])],
  ['acos', tf.acos, Math.acos, unit([6])],
  ['atan', tf.atan, Math.atan, floats([6])],
  ['sinh', tf.sinh, Math.sinh, floats([6])],
  ['cosh', tf.cosh, Math.cosh, floats([6])],
  ['asinh', tf.asinh, Math.asinh, floats([6])],
  ['atanh', tf.atanh, Math.atanh, unit([6])],
  ['softplus', tf.softplus, (x) => Math.log1p(Math.exp(x)), floats([6])],
  ['elu', tf.elu, (x) => (x >= 0 ? x : Math.expm1(x)), floats([6])],
];

const unary: readonly [string, (x: tf.Tensor) => tf.Tensor][] = [
  ['abs', tf.abs], ['neg', tf.neg], ['sign', tf.sign], ['square', tf.square], ['relu', tf.relu], ['relu6', tf.relu6], ['floor', tf.floor], ['ceil', tf.ceil],
  ['round', tf.round], ['step', (x) => tf.step(x, 0.25)], ['leakyRelu', (x) => tf.leakyRelu(x, 0.1)], ['clip', (x) => tf.clipByValue(x, -0.5, 0.75)],
  ['isNaN', tf.isNaN], ['isInf', tf.isInf], ['isFinite', tf.isFinite], ['selu', tf.selu], ['prelu', (x) => tf.prelu(x, tf.scalar(0.3))],
];
const onIntegers = ['abs', 'neg', 'sign', 'square'];

const binary: readonly [string, (a: tf.Tensor, b: tf.Tensor) => tf.Tensor][] = [
  ['add', tf.add], ['sub', tf.sub], ['mul', tf.mul], ['div', tf.div], ['maximum', tf.maximum], ['minimum', tf.minimum],
  ['squaredDifference', tf.squaredDifference], ['equal', tf.equal], ['notEqual', tf.notEqual], ['greater', tf.greater], ['greaterEqual', tf.greaterEqual],
  ['less', tf.less], ['lessEqual', tf.lessEqual], ['floorDiv', tf.floorDiv], ['mod', tf.mod],
];

/** NaN and the edges, but -0: the operator that keeps NaN (Where) makes 0 of it. */
const edges = [NaN, Infinity, -Infinity, 0, 1, -1, 0.5];
/** Often enough to meet vector code and its remainder alike. */
const manyEdges = exactly(Array.from({ length: 67 }, (_, i) => edges[i % edges.length]!));

const one = (name: string, x: OpCase['inputs'][number], f: OpCase['f']): OpCase => ({ name, inputs: [x], f });

export const elementwiseCases: readonly OpCase[] = [
  ...exact.map(([name, f, truth, x]): OpCase => ({ name, inputs: [x], f, truth })),
  { name: 'acosh', inputs: [exactly([1, 1.5, 2, 10])], f: tf.acosh, truth: Math.acosh },
  ...[...exact, ['acosh', tf.acosh] as const].filter(([name]) => !name.includes(' ')).map(([name, f]) => one(`${name} of NaN and edges`, manyEdges, f)),
  ...unary.map(([name, f]) => one(name, floats([2, 3, 4]), f)),
  ...unary.filter(([name]) => name !== 'selu').map(([name, f]) => one(`${name} of awkward numbers`, awkward, f)),
  ...unary.filter(([name]) => onIntegers.includes(name)).map(([name, f]) => one(`${name} of integers`, ints([5]), f)),
  ...['exp', 'reciprocal'].map((name) => one(`${name} of integers`, exactly([1, 4, 9], [3], 'int32'), exact.find(([n]) => n === name)![1])),
  one('round to even', exactly([0.5, 1.5, 2.5, -0.5, -1.5]), tf.round),
  ...binary.map(([name, f]): OpCase => ({ name: `${name}, broadcast`, inputs: [floats([2, 3, 4]), floats([3, 1], 1)], f })),
  ...binary.map(([name, f]): OpCase => ({ name: `${name} of integers`, inputs: [ints([3, 4]), exactly([1, 2, 3, 4], [4], 'int32')], f })),
  ...binary.slice(0, 6).map(([name, f]): OpCase => ({ name: `${name} of awkward numbers`, inputs: [awkward, exactly([2], [1])], f })),
  ...binary.map(([name, f]): OpCase => ({ name: `${name} of every two edges`, inputs: [exactly(edges, [7, 1]), exactly(edges, [1, 7])], f })),
  ...binary.map(([name, f]): OpCase => ({ name: `${name} of NaN on either side`, inputs: [exactly([NaN, 1, NaN, 2]), exactly([1, NaN, NaN, 1])], f })),
  { name: 'mixed types', inputs: [ints([3]), floats([3])], f: tf.add },
  { name: 'scalars', inputs: [exactly([2], []), exactly([3], [])], f: tf.mul },
  { name: 'rank 5 with rank 3', inputs: [floats([2, 1, 3, 1, 2]), floats([3, 4, 1], 1)], f: (a, b) => tf.add(a!, b!) },
  { name: 'nothing', inputs: [exactly([], [0, 3]), floats([3])], f: tf.add },
  { name: 'pow', inputs: [positive([4]), floats([4], 1)], f: tf.pow },
  { name: 'pow of integers', inputs: [exactly([1, 2, 3], [3], 'int32'), exactly([2, 3, 2], [3], 'int32')], f: tf.pow },
  { name: 'integers wrap', inputs: [exactly([2 ** 31 - 1], [1], 'int32'), exactly([1], [1], 'int32')], f: tf.add },
  { name: 'and', inputs: [bools([2, 3]), bools([3], 1)], f: tf.logicalAnd },
  { name: 'or', inputs: [bools([2, 3]), bools([3], 1)], f: tf.logicalOr },
  { name: 'xor', inputs: [bools([2, 3]), bools([3], 1)], f: tf.logicalXor },
  one('not', bools([5]), tf.logicalNot),
  { name: 'equal booleans', inputs: [bools([6]), bools([6], 1)], f: tf.equal },
  { name: 'where', inputs: [bools([2, 3]), floats([2, 3]), floats([2, 3], 1)], f: (c, a, b) => tf.where(c!, a!, b!) },
  { name: 'where, broadcast', inputs: [bools([1, 3]), floats([2, 3]), floats([1], 1)], f: (c, a, b) => tf.where(c!, a!, b!) },
  { name: 'where of integers', inputs: [bools([4]), ints([4]), ints([4], 1)], f: (c, a, b) => tf.where(c!, a!, b!) },
  { name: 'where of booleans', inputs: [bools([4]), bools([4], 2), bools([4], 1)], f: (c, a, b) => tf.where(c!, a!, b!) },
  { name: 'addN', inputs: [floats([3]), floats([3], 1), floats([3], 2)], f: (...xs) => tf.addN(xs) },
  { name: 'addN of integers', inputs: [ints([3]), ints([3], 1), ints([3], 2)], f: (...xs) => tf.addN(xs) },
  { name: 'addN of one', inputs: [floats([3])], f: (x) => tf.addN([x!]) },
  one('float to integer', exactly([1.7, -1.7, 0, 3e9, -3e9, 2 ** 40 + 2 ** 20, 1e30, NaN, Infinity]), (x) => tf.cast(x, 'int32')),
  one('float to boolean', exactly([0, 1, -2, NaN]), (x) => tf.cast(x, 'bool')),
  one('integer to float', ints([4]), (x) => tf.cast(x, 'float32')),
  one('integer to boolean', exactly([0, 5, -1], [3], 'int32'), (x) => tf.cast(x, 'bool')),
  one('boolean to float', bools([4]), (x) => tf.cast(x, 'float32')),
  one('boolean to integer', bools([4]), (x) => tf.cast(x, 'int32')),
];
