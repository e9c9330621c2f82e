import { expect, it } from 'vitest';
import { openBinding, type NativeSession } from './binding.ts';
import { OnnxBackendError } from './errors.ts';

const session = (run: () => unknown) => ({ binding: { InferenceSession: class { loadModel(): void {} run = run; } } });

it.each([
  ['is missing', () => { throw new Error("Cannot find module 'onnxruntime-node/dist/binding.js'"); }, /does not load: Cannot find module/],
  ['is of another platform', () => { throw new Error('invalid ELF header'); }, /does not load: invalid ELF header/],
  ['has another interface', () => ({ binding: {} }), /has no binding.InferenceSession/],
  ['computes later', () => session(() => Promise.resolve({})), /gave a promise: its run is asynchronous/],
  ['computes something else', () => session(() => ({ c: { data: Float32Array.of(4, 7) } })), /gave 4,7, expected 4,6/],
])('says what is wrong, where, and what to try when the runtime %s', (_, load, message) => {
  expect(() => openBinding(load)).toThrow(OnnxBackendError);
  expect(() => openBinding(load)).toThrow(message);
  expect(() => openBinding(load)).toThrow(`onnxruntime-node for ${process.platform} ${process.arch}`);
  expect(() => openBinding(load)).toThrow(/ESPALIER_BACKEND=wasm/);
});

it('takes the synchronous call where `run` is asynchronous', () => {
  const calls: string[] = [];
  const right = { c: { data: Float32Array.of(4, 6) } };
  class InferenceSession {
    loadModel(): void {}
    run(): Promise<object> {
      return Promise.resolve(right);
    }
    runSync(): object {
      calls.push('runSync');
      return right;
    }
  }
  const made: NativeSession = openBinding(() => ({ binding: { InferenceSession }, initOrt: () => calls.push('initOrt') }))();
  expect(made.run({}, {})).toBe(right);
  expect(calls).toEqual(['initOrt', 'runSync', 'runSync']);
});
