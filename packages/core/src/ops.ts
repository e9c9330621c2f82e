import * as tf from '@tensorflow/tfjs';
import { gatherBatch, gatherRows } from './rows.ts';
import type { Rows } from './samples.ts';
import { addTangents, Dual, liftBilinear, liftElementwise, liftLinear, primal, tangentOf, type Value } from './value.ts';

/** [..] -> shape. */
export const reshape = liftLinear((x, shape: readonly number[]) => tf.reshape(x, [...shape]));
/** Axes permuted. */
export const transpose = liftLinear((x, perm: readonly number[]) => tf.transpose(x, [...perm]));
/** by * x, for a constant. */
export const scale = liftLinear((x, by: number) => (by === 1 ? x : tf.mul(x, by)));
/** The box of `size` at `begin`; -1 is "to the end". */
export const slice = liftLinear((x, begin: readonly number[], size: readonly number[]) => tf.slice(x, [...begin], [...size]));
/** Sum over axes. */
export const sum = liftLinear((x, axes: readonly number[] | undefined, keepDims: boolean = false) =>
  tf.sum(x, axes && [...axes], keepDims),
);
/** Mean over axes. */
export const mean = liftLinear((x, axes: readonly number[] | undefined, keepDims: boolean = false) =>
  tf.mean(x, axes && [...axes], keepDims),
);
/** Rows of the first axis, in the order given: [B, ...] -> [rows, ...]. */
export const takeRows = liftLinear((x, rows: Rows) => gatherBatch(x, rows));
/** x * mask with a constant mask: dropout, one-hot selection, padding. Both parts of a dual see the same mask. */
export const mask = liftLinear((x, by: tf.Tensor) => tf.mul(x, by));

/** Elementwise product, broadcasting. */
export const mul = liftBilinear((x, y) => tf.mul(x, y));
/** Matrix product over the last two axes. */
export const matMul = liftBilinear((x, y, transposeX: boolean = false, transposeY: boolean = false) =>
  tf.matMul(x, y, transposeX, transposeY),
);

/** Elementwise sum, broadcasting. */
export function add(x: Value, y: Value): Value {
  const p = tf.add(primal(x), primal(y));
  const t = addTangents(tangentOf(x), tangentOf(y));
  if (!t) return p;
  return new Dual(p, sameShape(t.shape, p.shape) ? t : tf.add(t, tf.zerosLike(p)));
}

/** x - y. */
export const sub = (x: Value, y: Value): Value => add(x, scale(y, -1));

/** Joins along an axis; a plain part among dual ones has a zero tangent. */
export function concat(xs: readonly Value[], axis: number): Value {
  const p = tf.concat(xs.map(primal), axis);
  if (!xs.some((x) => x instanceof Dual)) return p;
  return new Dual(p, tf.concat(xs.map((x) => tangentOf(x) ?? tf.zerosLike(primal(x))), axis));
}

/** Rows of a table: y[b, t] = table[ids[b, t]]; [V, D], [B, T] -> [B, T, D]. */
export function embed(table: Value, ids: tf.Tensor): Value {
  const index = tf.reshape(ids, [-1]) as tf.Tensor1D;
  const flat = liftLinear((x) => gatherRows(x as tf.Tensor2D, index))(table);
  return reshape(flat, [...ids.shape, table.shape[1]!]);
}

const softmaxOf = anyOrder(
  (x) => tf.softmax(x),
  (y, dy) => {
    const ydy = tf.mul(y, dy);
    return tf.sub(ydy, tf.mul(y, tf.sum(ydy, -1, true)));
  },
);
/** softmax over the last axis; d softmax(x) = y (dx - sum(y dx)). */
export function softmax(x: Value): Value {
  const y = softmaxOf(primal(x));
  if (!(x instanceof Dual)) return y;
  const ydx = tf.mul(y, x.tangent);
  return new Dual(y, tf.sub(ydx, tf.mul(y, tf.sum(ydx, -1, true))));
}

/** tanh(x). */
export const tanh = liftElementwise(
  anyOrder((x) => tf.tanh(x), (y, dy) => tf.mul(dy, tf.sub(1, tf.square(y)))),
  (_, y) => tf.sub(1, tf.square(y)),
);
/** 1 / (1 + exp(-x)). */
export const sigmoid = liftElementwise(
  anyOrder((x) => tf.sigmoid(x), (y, dy) => tf.mul(dy, tf.mul(y, tf.sub(1, y)))),
  (_, y) => tf.mul(y, tf.sub(1, y)),
);
/** max(x, 0); slope 0 at 0. */
export const relu = liftElementwise(
  (x) => tf.relu(x),
  (x) => tf.step(x),
);
/** x Phi(x), the exact erf form; d gelu(x) = (Phi(x) + x phi(x)) dx. */
export const gelu = liftElementwise(fusedGelu, (x) => geluSlope(x, normalCdf(x)));

const SQRT1_2 = Math.SQRT1_2;
const INV_SQRT_2PI = 1 / Math.sqrt(2 * Math.PI);
const normalCdf = (x: tf.Tensor) => tf.mul(tf.add(tf.erf(tf.mul(x, SQRT1_2)), 1), 0.5);
const normalPdf = (x: tf.Tensor) => tf.mul(tf.exp(tf.mul(tf.square(x), -0.5)), INV_SQRT_2PI);
const geluSlope = (x: tf.Tensor, cdf: tf.Tensor) => tf.add(cdf, tf.mul(x, normalPdf(x)));

/**
 * A function whose gradient is made from its own output. tfjs puts an output that it saves for a gradient on the tape before
 * what made it, so inside another gradient the path through that output is lost without a word: there we save the input.
 */
function anyOrder(f: (x: tf.Tensor) => tf.Tensor, gradient: (y: tf.Tensor, dy: tf.Tensor) => tf.Tensor): (x: tf.Tensor) => tf.Tensor {
  const nested = (x: tf.Tensor): tf.Tensor => {
    const op = tf.customGrad((...args) => {
      const [t, save] = args as [tf.Tensor, tf.GradSaveFunc];
      save([t]);
      return { value: f(t), gradFunc: (dy: tf.Tensor, [s]: tf.Tensor[]) => gradient(nested(s!), dy) };
    });
    return op(x);
  };
  return (x) => (tf.engine().state.gradientDepth > 1 ? nested(x) : f(x));
}

/** One tape node instead of seven, saving x and Phi(x). Its gradient has a gradient again, so second order holds. */
function fusedGelu(x: tf.Tensor): tf.Tensor {
  const op = tf.customGrad((...args) => {
    const [t, save] = args as [tf.Tensor, tf.GradSaveFunc];
    const cdf = normalCdf(t);
    save([t, cdf]);
    return {
      value: tf.mul(t, cdf),
      gradFunc: (dy: tf.Tensor, [s, c]: tf.Tensor[]) => geluGradient(s!, dy, c!),
    };
  });
  return op(x);
}

/** dy gelu'(x). Its own derivatives: towards x, gelu''(x) = phi(x) (2 - x^2); towards dy, gelu'(x). */
function geluGradient(x: tf.Tensor, dy: tf.Tensor, cdf: tf.Tensor): tf.Tensor {
  const op = tf.customGrad((...args) => {
    const [t, d, save] = args as [tf.Tensor, tf.Tensor, tf.GradSaveFunc];
    save([t, d]);
    return {
      value: tf.mul(d, geluSlope(t, cdf)),
      gradFunc: (ddy: tf.Tensor, saved: tf.Tensor[]) => {
        const [s, e] = saved as [tf.Tensor, tf.Tensor];
        const curvature = tf.mul(normalPdf(s), tf.sub(2, tf.square(s)));
        return [tf.mul(tf.mul(ddy, e), curvature), tf.mul(ddy, geluSlope(s, normalCdf(s)))];
      },
    };
  });
  return op(x, dy);
}

/**
 * y = gamma (x - mean) / sqrt(var + eps) + beta over the last axis, population variance, eps inside the root.
 * [.., D], [D], [D] -> [.., D].
 */
export function layerNorm(x: Value, gamma: Value, beta: Value, eps = 1e-12): Value {
  return add(mul(normalise(x, eps), gamma), beta);
}

/** (x - mean) / sqrt(var + eps) over the last axis. */
export function normalise(x: Value, eps = 1e-12): Value {
  const p = primal(x);
  if (!(x instanceof Dual)) return fusedNormalise(p, eps);
  const { centred, inverse } = moments(p, eps);
  const n = tf.mul(centred, inverse);
  return new Dual(n, projectOut(x.tangent, n, inverse));
}

function moments(x: tf.Tensor, eps: number) {
  const centred = tf.sub(x, tf.mean(x, -1, true));
  const inverse = tf.rsqrt(tf.add(tf.mean(tf.square(centred), -1, true), eps)); // [.., 1]
  return { centred, inverse };
}

/** s (d - mean(d) - n mean(n d)): the Jacobian of normalisation, which is its own transpose. */
function projectOut(d: tf.Tensor, n: tf.Tensor, inverse: tf.Tensor): tf.Tensor {
  const dc = tf.sub(d, tf.mean(d, -1, true));
  return tf.mul(inverse, tf.sub(dc, tf.mul(n, tf.mean(tf.mul(n, d), -1, true))));
}

/** Saves only x; the gradient recomputes its moments from it, so derivatives of any order hold. */
function fusedNormalise(x: tf.Tensor, eps: number): tf.Tensor {
  const op = tf.customGrad((...args) => {
    const [t, save] = args as [tf.Tensor, tf.GradSaveFunc];
    save([t]);
    const { centred, inverse } = moments(t, eps);
    return {
      value: tf.mul(centred, inverse),
      gradFunc: (dy: tf.Tensor, [s]: tf.Tensor[]) => {
        const m = moments(s!, eps);
        return projectOut(dy, tf.mul(m.centred, m.inverse), m.inverse);
      },
    };
  });
  return op(x);
}

/** x / max(|x|, 1e-12) over the last axis: rows of unit length. A row of zeros stays zero. */
export function unitRows(x: Value): Value {
  if (!(x instanceof Dual)) return fusedUnitRows(x);
  const { inverse, curved } = lengths(x.primal);
  const n = tf.mul(x.primal, inverse);
  return new Dual(n, projectOutLength(x.tangent, n, inverse, curved));
}

/** 1 / max(|x|, 1e-12), and where that depends on x; both [.., 1]. */
function lengths(x: tf.Tensor) {
  const squares = tf.sum(tf.square(x), -1, true);
  return { inverse: tf.rsqrt(tf.maximum(squares, 1e-24)), curved: tf.step(tf.sub(squares, 1e-24)) };
}

/** s (d - n sum(n d)): the Jacobian of scaling to unit length, which is its own transpose. */
const projectOutLength = (d: tf.Tensor, n: tf.Tensor, inverse: tf.Tensor, curved: tf.Tensor): tf.Tensor =>
  tf.mul(inverse, tf.sub(d, tf.mul(n, tf.mul(curved, tf.sum(tf.mul(n, d), -1, true)))));

/** Saves only x, as `fusedNormalise` does. */
function fusedUnitRows(x: tf.Tensor): tf.Tensor {
  const op = tf.customGrad((...args) => {
    const [t, save] = args as [tf.Tensor, tf.GradSaveFunc];
    save([t]);
    return {
      value: tf.mul(t, lengths(t).inverse),
      gradFunc: (dy: tf.Tensor, [s]: tf.Tensor[]) => {
        const { inverse, curved } = lengths(s!);
        return projectOutLength(dy, tf.mul(s!, inverse), inverse, curved);
      },
    };
  });
  return op(x);
}

const sameShape = (a: readonly number[], b: readonly number[]) => a.length === b.length && a.every((n, i) => n === b[i]);

/** x + eps 0: a value whose tangent is made explicit, for code that must see both parts. */
export const asDual = (x: Value): Dual => (x instanceof Dual ? x : new Dual(x, tf.zerosLike(x)));

/** Where a plain array is required: f(x) + its derivative at eps = 1, the linearised output. */
export const evaluate = (x: Value): tf.Tensor => (x instanceof Dual ? tf.add(x.primal, x.tangent) : x);
