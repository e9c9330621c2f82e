import * as tf from '@tensorflow/tfjs';
import { primalOnly, primalResult, primalSlope } from './trace.ts';

/** What flows through a model: an array, or an array with its directional derivative. */
export type Value = tf.Tensor | Dual;

/**
 * A dual number `primal + eps * tangent`, `eps^2 = 0`. Where weights are dual, every op downstream computes
 * f(x) and its Jacobian-vector product together. Both parts have the same shape.
 */
export class Dual {
  constructor(
    readonly primal: tf.Tensor,
    readonly tangent: tf.Tensor,
  ) {}
  get shape(): number[] {
    return this.primal.shape;
  }
}

/** f(x) without the derivative. Cuts the tangent: a plugin's own arithmetic should use the lifted ops instead. */
export const primal = (x: Value): tf.Tensor => (x instanceof Dual ? x.primal : x);

/** The derivative part, or undefined where it is exactly zero. */
export const tangentOf = (x: Value): tf.Tensor | undefined => (x instanceof Dual ? x.tangent : undefined);

/** Whether a lifted op has a derivative part to compute. */
export const isDual = (x: Value): x is Dual => x instanceof Dual && !primalOnly();

/** A value from its parts; an undefined tangent is zero and makes a plain array. */
export const dual = (p: tf.Tensor, t: tf.Tensor | undefined): Value => (t ? new Dual(p, t) : p);

/** The arrays inside a value: one, or two. */
export const parts = (x: Value): tf.Tensor[] => (x instanceof Dual ? [x.primal, x.tangent] : [x]);

/** Sum of two derivative parts, either of which may be zero (undefined). */
export const addTangents = (a: tf.Tensor | undefined, b: tf.Tensor | undefined): tf.Tensor | undefined =>
  a && b ? tf.add(a, b) : (a ?? b);

/** Lifts a linear function f to duals: f(x + eps dx) = f(x) + eps f(dx). */
export const liftLinear =
  <A extends unknown[]>(f: (x: tf.Tensor, ...args: A) => tf.Tensor) =>
  (x: Value, ...args: A): Value =>
{
    const p = primalResult(() => f(primal(x), ...args));
    return isDual(x) ? new Dual(p, f(x.tangent, ...args)) : p;
  };

type Booking = (f: () => tf.Tensor) => tf.Tensor;
let book: Booking = (f) => f();
/** Runs products of derivative parts by `by` until the function it gives is called: how an account tells them from the model's own. */
export function bookTangents(by: Booking): () => void {
  const before = book;
  book = by;
  return () => (book = before);
}

/** Lifts a bilinear function to duals by the product rule: d f(x, y) = f(dx, y) + f(x, dy). */
export const liftBilinear =
  <A extends unknown[]>(f: (x: tf.Tensor, y: tf.Tensor, ...args: A) => tf.Tensor) =>
  (x: Value, y: Value, ...args: A): Value => {
    const p = primalResult(() => f(primal(x), primal(y), ...args));
    const dx = isDual(x) ? book(() => f(x.tangent, primal(y), ...args)) : undefined;
    const dy = isDual(y) ? book(() => f(primal(x), y.tangent, ...args)) : undefined;
    return dual(p, addTangents(dx, dy));
  };

/** Lifts an elementwise function with a known derivative: d f(x) = f'(x) dx. */
export const liftElementwise =
  (f: (x: tf.Tensor) => tf.Tensor, slope: (x: tf.Tensor, y: tf.Tensor) => tf.Tensor) =>
  (x: Value): Value => {
    const y = primalResult(() => f(primal(x)));
    return isDual(x) ? new Dual(y, tf.mul(primalSlope(() => slope(x.primal, y)), x.tangent)) : y;
  };
