import * as tf from '@tensorflow/tfjs';
import { expect, it } from 'vitest';
import { capture, type Captured } from './capture.ts';
import { CaptureError } from './errors.ts';
import { withBackend } from './testing/backend.ts';

/** Calls a captured step with numbers and reads its first result. */
function call(step: Captured, ...xs: number[]): number {
  const args = xs.map((x) => tf.tensor1d([x]));
  const out = step.call(args);
  const [value] = out[0]!.dataSync();
  tf.dispose([args, out]);
  return value!;
}

it('replays with other arguments, variables and feeds', () =>
  withBackend({}, (backend) => {
    const v = tf.variable(tf.tensor1d([1]));
    let fed = 10;
    let traced = 0;
    const step = capture(backend, ([x]) => {
      traced++;
      const y = tf.add(tf.mul(x!, v), step.feed('offset', () => tf.tensor1d([fed])));
      v.assign(tf.add(v, 1));
      return [y];
    });
    expect([call(step, 2), call(step, 3), call(step, 4)]).toEqual([12, 16, 22]);
    fed = 100;
    expect(call(step, 5)).toBe(120);
    expect(traced).toBe(2);
    expect(v.dataSync()[0]).toBe(5);
    v.assign(tf.tensor1d([7])); // from outside
    expect(call(step, 1)).toBe(107);
    tf.disposeVariables();
  }));

it('records once per shape, type and signature', () =>
  withBackend({}, (backend) => {
    const step = capture(backend, ([x]) => [tf.sum(tf.mul(x!, 2))]);
    const how: (string | undefined)[] = [];
    for (const shape of [[2], [2], [2], [3], [3], [3], [2]]) {
      tf.dispose(step.call([tf.ones(shape)]));
      how.push(step.last);
    }
    expect(how).toEqual(['recorded', 'recorded', 'replayed', 'recorded', 'recorded', 'replayed', 'replayed']);
    tf.dispose(step.call([tf.ones([2])], 'another'));
    expect(step.last).toBe('recorded');
  }));

it('forgets the least recently used signature', () =>
  withBackend({}, (backend) => {
    const step = capture(backend, ([x]) => [tf.mul(x!, 2)], { limit: 1 });
    for (const shape of [[2], [2], [2], [3], [2]]) tf.dispose(step.call([tf.ones(shape)]));
    expect(step.last).toBe('recorded');
  }));

it('waits for variables that the first call makes', () =>
  withBackend({}, (backend) => {
    let sum: tf.Variable | undefined;
    const step = capture(backend, ([x]) => {
      sum ??= tf.keep(tf.variable(tf.zeros([1])));
      sum.assign(tf.add(sum, x!));
      return [tf.mul(sum, 1)];
    });
    expect([1, 2, 3, 4, 5].map((x) => call(step, x))).toEqual([1, 3, 6, 10, 15]);
    expect(step.last).toBe('replayed');
    tf.disposeVariables();
  }));

it('a clone of a variable keeps the value it had', () =>
  withBackend({}, (backend) => {
    const v = tf.variable(tf.tensor1d([1]));
    const step = capture(backend, ([x]) => {
      v.assign(tf.add(v, x!));
      return [tf.mul(v, 10)];
    });
    for (const x of [1, 1, 1]) call(step, x);
    const clone = v.clone();
    expect(call(step, 1)).toBe(50);
    expect([clone.dataSync()[0], v.dataSync()[0]]).toEqual([4, 5]);
    tf.dispose([clone, v]);
  }));

it('two results may be one array, and a result may be a variable', () =>
  withBackend({}, (backend) => {
    const v: tf.Variable = tf.variable(tf.tensor1d([1]));
    const step = capture(backend, ([x]) => {
      const y = tf.mul(x!, 2);
      v.assign(y);
      return [y, tf.reshape(y, [1, 1])];
    });
    for (let i = 1; i < 5; i++) {
      const x = tf.tensor1d([i]);
      const [a, b] = step.call([x]);
      backend.writable(v)[0]! += 100;
      expect([a!.dataSync()[0], b!.dataSync()[0], v.dataSync()[0], b!.shape]).toEqual([2 * i, 2 * i, 2 * i + 100, [1, 1]]);
      tf.dispose([a!, b!, x]);
    }
    expect(step.last).toBe('replayed');
    v.dispose();
  }));

const refusals: readonly [string, (x: tf.Tensor, n: number) => tf.Tensor, RegExp][] = [
  ['an anonymous constant that changed', (x, n) => tf.mul(x, tf.scalar(n)), /an anonymous constant float32 \[\] changed between two recordings, from \[3\] to \[4\], in kernel Multiply/],
  ['a value read on the host', (x) => tf.mul(x, tf.mul(x, 2).dataSync()[0]!), /is computed in the step, and its values were read on the host/],
  ['an argument read on the host', (x) => tf.mul(x, x.dataSync()[0]!), /differs from call to call, and its values were read on the host/],
  ['a kernel on the host', (x) => tf.cumprod(tf.mul(x, 2)), /the kernel Cumprod runs on the host/],
  ['a kernel on the host that sees an argument', (x) => tf.mul(tf.cumprod(x), 2), /differs from call to call, and the kernel Cumprod runs on the host/],
  ['a result that is not computed', (x) => x.clone(), /its result 0 is not computed in the step/],
  ['another computation every time', (x, n) => (n % 2 ? tf.mul(x, 2) : tf.add(x, 2)), /it computed something else in every recording/],
];

it.each(refusals)('refuses %s, and says so', (_, f, message) =>
  withBackend({}, (backend) => {
    let n = 0;
    const step = capture(backend, ([x]) => [f(x!, ++n)]);
    expect(() => {
      for (let i = 0; i < 6; i++) call(step, 3);
    }).toThrow(CaptureError);
    n = 0;
    const errors: string[] = [];
    const lenient = capture(backend, ([x]) => [f(x!, ++n)], { onRefused: (e) => errors.push(e.message) });
    const wanted = Array.from({ length: 6 }, (__, i) => tf.tidy(() => f(tf.tensor1d([i]), i + 1).dataSync()[0]));
    expect(Array.from({ length: 6 }, (__, i) => call(lenient, i))).toEqual(wanted);
    expect(errors).toHaveLength(1);
    expect(errors[0]).toMatch(message);
    expect(errors[0]).toMatch(/Give what differs .* as an argument, a variable, or a named feed/);
    expect(lenient.last).toBe('refused');
  }),
);

it('refuses a variable that is assigned host data, and a feed that is computed', () =>
  withBackend({}, (backend) => {
    const v = tf.variable(tf.tensor1d([1]));
    const assigned = capture(backend, ([x]) => {
      v.assign(tf.tensor1d([3]));
      return [tf.mul(x!, 2)];
    });
    expect(() => call(assigned, 1)).toThrow(/variable .* is assigned something that is not computed in the step/);
    const fed: Captured = capture(backend, ([x]) => [tf.mul(x!, fed.feed('computed', () => tf.tidy(() => tf.add(v, 1))))]);
    expect(() => call(fed, 1)).toThrow(/the named feed 'computed' is computed by operations/);
    v.dispose();
  }));

it('a captured step inside another one is refused', () =>
  withBackend({}, (backend) => {
    const inner = capture(backend, ([x]) => [tf.mul(x!, 2)]);
    const outer = capture(backend, (args) => inner.call(args));
    expect(() => call(outer, 1)).toThrow(/cannot be called inside another one/);
    expect(call(inner, 4)).toBe(8);
  }));

it('an error in the step leaves the backend as it was', () =>
  withBackend({}, (backend) => {
    const step = capture(backend, () => {
      throw new Error('mine');
    });
    expect(() => call(step, 1)).toThrow('mine');
    expect(backend.recording).toBeUndefined();
    expect([...tf.add(1, 2).dataSync()]).toEqual([3]);
  }));

it('refuses results that change their places, and an array of outside that is gone', () =>
  withBackend({}, (backend) => {
    let n = 0;
    const swapping = capture(backend, ([x]) => {
      const both = [tf.mul(x!, 2), tf.mul(x!, 3)];
      return n++ % 2 ? both.reverse() : both;
    });
    expect(() => {
      for (let i = 0; i < 6; i++) tf.dispose(tf.tidy(() => swapping.call([tf.ones([1])])));
    }).toThrow(/its results are other arrays of what it computed/);
    const frozen = tf.tensor1d([5]);
    const reading = capture(backend, ([x]) => [tf.mul(x!, frozen)]);
    expect([1, 2, 3].map((x) => call(reading, x))).toEqual([5, 10, 15]);
    frozen.dispose();
    expect(() => call(reading, 4)).toThrow(/an array \[1\] that the captured step reads was made outside of it and has been disposed/);
  }));

it('a compiled graph that was dropped is compiled again', () =>
  withBackend({}, (backend) => {
    const step = capture(backend, ([x]) => [tf.mul(x!, 2)]);
    for (const x of [1, 2, 3]) call(step, x);
    backend.clearGraphs();
    expect(call(step, 4)).toBe(8);
    expect(step.last).toBe('replayed');
  }));
