import type { HostArray } from './arrays.ts';
import type { Feed, NativeSession } from './binding.ts';
import { NEXT_BACKEND, OnnxBackendError } from './errors.ts';
import { rowSize } from './ragged.ts';
import type { RecordedNode } from './recorded.ts';
import type { Model } from './trace.ts';

export interface SessionOptions {
  readonly threads: number;
}

/** A compiled graph. */
export interface Session {
  /** Values of the leaves that are inputs, in the order of the model's inputs, to values of its outputs. */
  run(inputs: readonly HostArray[]): HostArray[];
  /** How long the last run took inside ONNX Runtime, in milliseconds. */
  readonly lastRun: number;
  dispose(): void;
}

/** @throws OnnxBackendError naming kernel, shapes and types when the graph does not compile. */
export function openSession(create: () => NativeSession, model: Model, { threads }: SessionOptions): Session {
  const native = create();
  try {
    native.loadModel(model.bytes.buffer, model.bytes.byteOffset, model.bytes.byteLength, {
      intraOpNumThreads: threads, interOpNumThreads: 1, executionMode: 'sequential', graphOptimizationLevel: 'all',
      logSeverityLevel: FATAL, // errors are thrown, with more than the log says
      // An arena per graph keeps its peak for ever: over many shapes memory grows without bound.
      enableCpuMemArena: false, enableMemPattern: false,
    });
  } catch (e) {
    throw explained(e, model, 'does not compile');
  }
  const feeds: Record<string, Feed> = {};
  for (const { name, type, shape } of model.inputs) feeds[name] = { type, dims: shape, data: NOTHING, location: 'cpu' };
  const slots = model.inputs.map(({ name }) => feeds[name]!);
  const fetches = Object.fromEntries(model.outputs.map(({ name }) => [name, null]));
  let lastRun = 0;
  return {
    run: (inputs) => {
      slots.forEach((slot, i) => {
        slot.data = inputs[i]!;
        const { shape } = model.inputs[i]!;
        if (shape[0] === -1) slot.dims = [slot.data.length / rowSize(shape), ...shape.slice(1)];
      });
      const began = performance.now();
      try {
        const results = native.run(feeds, fetches);
        return model.outputs.map(({ name }) => results[name]!.data);
      } catch (e) {
        throw explained(e, model, 'does not run');
      } finally {
        lastRun = performance.now() - began;
        for (const slot of slots) slot.data = NOTHING; // holds no array alive
      }
    },
    get lastRun() {
      return lastRun;
    },
    dispose: () => native.dispose?.(),
  };
}

const FATAL = 4;
const NOTHING = new Float32Array(0);

/** ONNX Runtime names the ONNX node: say which kernel, shapes and types that was. */
function explained(e: unknown, model: Model, what: string): OnnxBackendError {
  const text = (e instanceof Error ? e.message : String(e)).replace(/\s+/g, ' ').slice(0, 600);
  const memory = /alloc/i.test(text) ? ' It ran out of memory: a smaller batch, or recomputation, needs less.' : '';
  const name = /[A-Za-z_0-9]+@\d+#\d+/.exec(text)?.[0];
  const node = name === undefined ? undefined : model.source(name);
  const where = node ? describe(node) : `a graph of ${model.inputs.length} inputs and ${model.outputs.length} outputs`;
  return new OnnxBackendError(`${where} ${what} on ONNX Runtime: ${text}.${memory} ${NEXT_BACKEND}`, { cause: e });
}

/** "kernel BatchMatMul of float32 [2, 3], float32 [3, 4] to float32 [2, 4]". */
export function describe({ kernel, inputs, outputs }: RecordedNode): string {
  const shape = (x: readonly number[]) => `[${x.join(', ')}]`;
  const from = inputs.map((i) => `${i.storage.dtype} ${shape(i.shape)}`).join(', ');
  return `kernel ${kernel} of ${from || 'nothing'} to ${outputs.map((o) => `${o.dtype} ${shape(o.shape)}`).join(', ')}`;
}
