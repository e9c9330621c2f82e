import * as tf from '@tensorflow/tfjs';
import { Dual, parts, type Value } from './value.ts';

/** Maps every array or dual inside nested arrays and plain objects; other leaves stay as they are. */
export function mapValues(tree: unknown, f: (x: Value) => Value): unknown {
  if (tree instanceof tf.Tensor || tree instanceof Dual) return f(tree);
  if (Array.isArray(tree)) return tree.map((x) => mapValues(x, f));
  if (isRecord(tree)) return Object.fromEntries(Object.entries(tree).map(([k, x]) => [k, mapValues(x, f)]));
  return tree;
}

/** Every tensor inside nested arrays, plain objects and duals. */
export function tensorsIn(tree: unknown): tf.Tensor[] {
  const found: tf.Tensor[] = [];
  mapValues(tree, (x) => (found.push(...parts(x)), x));
  return found;
}

/** tf.tidy for any tree that holds tensors or duals: what the result holds survives, everything else is disposed. */
export function tidy<T>(f: () => T): T {
  const out: { value?: T } = {};
  tf.tidy(() => {
    out.value = f();
    return tensorsIn(out.value);
  });
  return out.value as T;
}

const isRecord = (x: unknown): x is Record<string, unknown> =>
  typeof x === 'object' && x !== null && Object.getPrototypeOf(x) === Object.prototype;
