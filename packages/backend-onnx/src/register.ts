import * as tf from '@tensorflow/tfjs';
import { availableParallelism } from 'node:os';
import { z } from 'zod';
import { sizeOf } from './arrays.ts';
import { OnnxBackend } from './backend.ts';
import { OnnxBackendError } from './errors.ts';
import { ragged } from './kernels/ragged.ts';
import { emitters } from './kernels/table.ts';
import type { Emitter } from './operation.ts';

export interface OnnxOptions {
  /** Of the backend in TensorFlow.js; default 'onnx'. */
  readonly name?: string;
  /** 'lazy' (default) runs recorded operations as one graph when a value is needed; 'eager' runs each at once, so that errors come at the operation. */
  readonly mode?: 'lazy' | 'eager';
  /** Threads of a graph; default 'auto': one for small graphs, all cores for others. */
  readonly threads?: number | 'auto';
  /** Compiled graphs that are kept, least recently used dropped first; default 64 in lazy mode, 1024 in eager mode. */
  readonly cacheLimit?: number;
}

const Options = z.strictObject({
  name: z.string().min(1).default('onnx'),
  mode: z.enum(['lazy', 'eager']).default('lazy'),
  threads: z.int().positive().or(z.literal('auto')).default('auto'),
  cacheLimit: z.int().positive().optional(),
});

/**
 * Registers the backend with TensorFlow.js, with every kernel of the cpu backend: those with an emitter computed by ONNX
 * Runtime, the others by the cpu backend's own code. `await tf.setBackend('onnx')` puts it in force.
 * @throws OnnxBackendError for wrong options, and when onnxruntime-node does not work here.
 */
export function registerOnnx(options: OnnxOptions = {}): OnnxBackend {
  const parsed = Options.safeParse(options);
  if (!parsed.success) throw new OnnxBackendError(`registerOnnx: ${z.prettifyError(parsed.error)}`);
  const { name, mode, threads } = parsed.data;
  const cacheLimit = parsed.data.cacheLimit ?? (mode === 'lazy' ? 64 : 1024);
  const before = tf.engine().registry[name];
  if (before) throw new OnnxBackendError(`a backend '${name}' is registered already: give this one another name, or tf.removeBackend('${name}') first`);
  const backend = new OnnxBackend({ mode, threads, cacheLimit, cores: availableParallelism() });
  tf.registerBackend(name, () => backend, 1);
  for (const config of tf.getKernelsForBackend('cpu')) {
    const { kernelName } = config;
    if (tf.getKernel(kernelName, name)) continue; // registered for a backend of this name that was removed
    tf.registerKernel({ kernelName, backendName: name, kernelFunc: kernel(kernelName, emitters[kernelName], config.kernelFunc) });
  }
  for (const [kernelName, emitter] of Object.entries(ragged))
    if (!tf.getKernel(kernelName, name)) tf.registerKernel({ kernelName, backendName: name, kernelFunc: kernel(kernelName, emitter, noCpu(kernelName)) });
  return backend;
}

/** Kernels of our own have no other form. */
const noCpu = (name: string): tf.KernelFunc => ({ inputs }) => {
  throw new OnnxBackendError(`kernel ${name} of ${listOf(inputs).map((x) => `${x.dtype} [${x.shape.join(', ')}]`).join(' and ')}: it takes floats of at least one sample, and indices of integers`);
};

/** Runs the emitter's operation where it has one for these inputs, else the cpu kernel. */
function kernel(name: string, emitter: Emitter | undefined, cpu: tf.KernelFunc): tf.KernelFunc {
  return (call) => {
    const backend = call.backend;
    if (!(backend instanceof OnnxBackend)) throw new Error(`kernel ${name}: its backend is not OnnxBackend`);
    const list = listOf(call.inputs);
    const found = emitter && !list.some((x) => sizeOf(x.shape) === 0)
      ? emitter({ inputs: call.inputs, list, attrs: call.attrs ?? {}, known: (x) => backend.known(x) })
      : undefined;
    if (!found) return backend.fallBack(name, () => cpu(call));
    if ('view' in found) {
      backend.incRef(found.view.dataId);
      return { dataId: found.view.dataId, shape: [...found.shape], dtype: found.view.dtype };
    }
    const outputs = backend.run(name, found);
    return outputs.length === 1 && !MANY_OUTPUTS.has(name) ? outputs[0]! : outputs;
  };
}

/** Kernels whose result is a list even when it has one entry. */
const MANY_OUTPUTS: ReadonlySet<string> = new Set(['SplitV', 'Unpack']);

const listOf = (inputs: tf.NamedTensorInfoMap): tf.TensorInfo[] => Object.values(inputs).filter((x): x is tf.TensorInfo => x !== undefined && x !== null);
