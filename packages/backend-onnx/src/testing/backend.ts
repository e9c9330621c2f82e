import * as tf from '@tensorflow/tfjs';
import type { OnnxBackend } from '../backend.ts';
import { registerOnnx, type OnnxOptions } from '../register.ts';

/** Runs f on a backend of its own, removed afterwards; the backend before is in force again. */
export async function withBackend<T>(options: OnnxOptions, f: (backend: OnnxBackend) => T | Promise<T>): Promise<T> {
  const before = tf.getBackend();
  const name = `onnx-test-${made++}`;
  const backend = registerOnnx({ threads: 1, ...options, name });
  try {
    await tf.setBackend(name);
    return await f(backend);
  } finally {
    await tf.setBackend(before || 'cpu');
    tf.removeBackend(name);
  }
}
let made = 0;
