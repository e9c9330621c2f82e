import { availableParallelism } from 'node:os';
import { registerOnnx, type OnnxBackend } from '@espalier/backend-onnx';
import { selectBackend } from '@espalier/core/backend';
import * as tf from '@tensorflow/tfjs';
import type { Settings } from './settings.ts';

/** A backend that a side of a bench runs on. Arrays must be made while it is in force: another backend would copy them. */
export interface Place {
  readonly name: string; // in TensorFlow.js
  readonly onnx: OnnxBackend | undefined;
}

export async function enter(place: Place): Promise<void> {
  await tf.setBackend(place.name);
}

const threadsOf = ({ threads }: Settings) => (threads === 'auto' ? availableParallelism() : threads);

/** The onnx backend as it comes. */
export function onnx({ threads }: Settings): Place {
  return { name: 'onnx', onnx: registerOnnx({ name: 'onnx', threads }) };
}

/** For bounds: every operation a graph of one node, all of them on the same number of threads. */
export function onnxOperations(settings: Settings): Place {
  return { name: 'onnx-operations', onnx: registerOnnx({ name: 'onnx-operations', mode: 'eager', threads: threadsOf(settings) }) };
}

/** For bounds: what is asked for together is one graph. */
export function onnxGraph(settings: Settings): Place {
  return { name: 'onnx-graph', onnx: registerOnnx({ name: 'onnx-graph', threads: threadsOf(settings) }) };
}

/** @throws EspalierError when tfjs-node does not start in the working directory's project. */
export async function tfjsNode(): Promise<Place> {
  await selectBackend('tfjs-node');
  return { name: tf.getBackend(), onnx: undefined };
}

/** The wasm backend as it ships and with core's patches, in one process: `use` puts the kernels of one or the other in the registry. */
export async function wasm(): Promise<Place & { use(which: 'shipped' | 'patched'): void }> {
  await import('@tensorflow/tfjs-backend-wasm');
  await tf.setBackend('wasm');
  await tf.ready();
  const shipped = tf.getKernelsForBackend('wasm');
  await selectBackend('wasm');
  const kernels = { shipped, patched: tf.getKernelsForBackend('wasm') };
  return {
    name: 'wasm',
    onnx: undefined,
    use: (which) => {
      for (const { kernelName } of tf.getKernelsForBackend('wasm')) tf.unregisterKernel(kernelName, 'wasm');
      for (const kernel of kernels[which]) tf.registerKernel(kernel);
    },
  };
}
