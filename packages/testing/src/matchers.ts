import * as tf from '@tensorflow/tfjs';

/** What can be compared: an array on a backend, or plain numbers. */
export type Numbers = tf.Tensor | ArrayLike<number>;

export interface Tolerance {
  readonly relative?: number; // of the largest magnitude in `expected`; default 1e-5
  readonly absolute?: number; // default 1e-7
}

const read = (x: Numbers): ArrayLike<number> => (x instanceof tf.Tensor ? x.dataSync() : x);
const shapeOf = (x: Numbers): readonly number[] => (x instanceof tf.Tensor ? x.shape : [x.length]);
const peak = (x: ArrayLike<number>) => Array.from(x).reduce((most, v) => (Number.isFinite(v) ? Math.max(most, Math.abs(v)) : most), 0);

/** The largest |a - b|, and where. NaN counts as infinitely far. */
export function distanceOf(a: Numbers, b: Numbers): { readonly distance: number; readonly index: number } {
  const [x, y] = [read(a), read(b)];
  let [distance, index] = [0, 0];
  for (let i = 0; i < x.length; i++) {
    const d = Object.is(x[i], y[i]) ? 0 : Math.abs(x[i]! - y[i]!);
    if (d > distance || Number.isNaN(d)) [distance, index] = [Number.isNaN(d) ? Infinity : d, i];
  }
  return { distance, index };
}

/** |actual - expected| <= absolute + relative max|expected|, entry by entry, and equal shapes. @throws Error saying where it is worst. */
export function toBeAllClose(actual: Numbers, expected: Numbers, { relative = 1e-5, absolute = 1e-7 }: Tolerance = {}, what = 'value'): void {
  sameShape(actual, expected, what);
  const bound = absolute + relative * peak(read(expected));
  const { distance, index } = distanceOf(actual, expected);
  if (!(distance <= bound))
    throw new Error(`${what}: entry ${index} is ${read(actual)[index]}, expected ${read(expected)[index]}: off by ${distance.toExponential(2)}, allowed ${bound.toExponential(2)}`);
}

/** Every entry is the same number, bit for bit. @throws Error naming the first that is not. */
export function toBeBitEqual(actual: Numbers, expected: Numbers, what = 'value'): void {
  sameShape(actual, expected, what);
  const [x, y] = [read(actual), read(expected)];
  for (let i = 0; i < x.length; i++) if (!Object.is(x[i], y[i])) throw new Error(`${what}: entry ${i} is ${x[i]}, expected exactly ${y[i]}`);
}

/** The two differ by more than `by` somewhere. @throws Error when they do not. */
export function toDiffer(actual: Numbers, other: Numbers, by = 0, what = 'value'): void {
  const { distance } = distanceOf(actual, other);
  if (!(distance > by)) throw new Error(`${what}: the same within ${by}, expected to differ`);
}

/** `f` leaves as many tensors as it found. @throws Error with the number of tensors it left behind or took away. */
export async function toLeakNothing(f: () => unknown, what = 'the call'): Promise<void> {
  const before = tf.memory().numTensors;
  await f();
  const left = tf.memory().numTensors - before;
  if (left !== 0) throw new Error(`${what} leaves ${left} tensors ${left > 0 ? 'behind' : 'fewer than there were'}`);
}

/** `f` throws an error of this kind whose message contains every one of `words`. @returns the message. */
export async function toRefuse(f: () => unknown, kind: abstract new (...args: never[]) => Error, ...words: readonly string[]): Promise<string> {
  let thrown: unknown;
  let returned = true;
  try {
    await f();
  } catch (e) {
    thrown = e;
    returned = false;
  }
  if (returned) throw new Error(`nothing was thrown, expected ${kind.name}`);
  if (!(thrown instanceof kind)) throw new Error(`threw ${String(thrown)}, expected ${kind.name}`, { cause: thrown });
  for (const word of words) if (!thrown.message.includes(word)) throw new Error(`the message does not mention '${word}': ${thrown.message}`);
  return thrown.message;
}

function sameShape(actual: Numbers, expected: Numbers, what: string): void {
  const [a, e] = [shapeOf(actual), shapeOf(expected)];
  if (a.join() !== e.join()) throw new Error(`${what}: shape [${a.join(', ')}], expected [${e.join(', ')}]`);
}
