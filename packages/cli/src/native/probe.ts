import { createRequire, Module } from 'node:module';
import { join } from 'node:path';
import { selectBackend } from '@espalier/core/backend';
import * as tf from '@tensorflow/tfjs';
import { z } from 'zod';
import { reasonOf } from '../errors.ts';

/** A process of its own, because a binary may end it: starts a package with a binary as a training would, and sends what it computes. */
async function probe([name = '', directory = '', binary = '']: readonly string[]) {
  useBinary(directory, binary);
  await selectBackend(name);
  const backend = z.object({ binding: z.object({ TF_Version: z.string() }), isUsingGpuDevice: z.boolean() }).parse(tf.backend());
  const [a, b] = [tf.tensor2d([[1, 2], [3, 4]]), tf.tensor2d([[5, 6], [7, 8]])];
  const gradients = tf.grads((x, y) => tf.sum(tf.square(tf.matMul(x, y))))([a, b]);
  return {
    backend: tf.getBackend(),
    tensorflow: backend.binding.TF_Version,
    gpu: backend.isUsingGpuDevice,
    values: [tf.matMul(a, b), ...gradients].map((x) => [...x.dataSync()]),
  };
}

/** The package asks node-pre-gyp where its binary is: this is the answer. */
function useBinary(directory: string, binary: string): void {
  const require = createRequire(join(directory, 'package.json'));
  const file = require.resolve('@mapbox/node-pre-gyp');
  const answering = new Module(file);
  Object.assign(answering, { loaded: true, exports: { find: () => binary } });
  require.cache[file] = answering;
}

process.send?.(await probe(process.argv.slice(2)).catch((e: unknown) => ({ error: reasonOf(e) })));
process.disconnect?.();
