import { sizeOf, type HostArray } from './arrays.ts';
import type { NativeSession } from './binding.ts';
import { graphCache } from './graphs.ts';
import type { Operation } from './operation.ts';
import { raggedOf } from './ragged.ts';
import type { Reading, RecordedNode } from './recorded.ts';
import { storage, type Storage } from './storage.ts';
import { traceOf, type Trace } from './trace.ts';

/** 'lazy' runs what was recorded as one graph when a value is needed; 'eager' runs every operation at once. */
export type Mode = 'lazy' | 'eager';

/** What the backend has done so far. */
export interface Statistics {
  readonly flushes: number; // graphs run
  readonly operations: number; // recorded
  readonly compiled: number; // graphs compiled
  readonly cached: number; // compiled graphs held now
  readonly pending: number; // operations recorded and not run
  readonly runMilliseconds: number; // inside ONNX Runtime
}

export interface RecorderOptions {
  readonly mode: Mode;
  readonly cacheLimit: number;
  readonly pendingLimit: number;
  readonly threadsFor: (macs: number) => number;
}

/** Records operations on storages and runs them as graphs. */
export interface Recorder {
  readonly mode: Mode;
  readonly pending: readonly RecordedNode[];
  record(kernel: string, operation: Operation, inputs: readonly Reading[]): Storage[];
  /** Runs what is pending: everything that is alive gets its values. @throws OnnxBackendError when the graph does not compile or run. */
  flush(): void;
  /** Computes a trace of what is pending, whose results get their values; what else is alive stays pending. */
  execute(trace: Trace): void;
  /** Computes a trace, of now or before, from other values of its leaves. */
  compute(trace: Trace, leaves: readonly HostArray[]): HostArray[];
  /** The values of a storage, computed when need be. @throws what made its computation fail. */
  values(s: Storage): HostArray;
  /** No tensor refers to it any more. */
  release(s: Storage): void;
  statistics(): Statistics;
  /** Drops all compiled graphs. */
  clear(): void;
}

export function recorder(create: () => NativeSession, { mode, cacheLimit, pendingLimit, threadsFor }: RecorderOptions): Recorder {
  const graphs = graphCache(create, cacheLimit, threadsFor);
  const signatures = new Map<string, number>();
  let pending: RecordedNode[] = [];
  const counts = { flushes: 0, operations: 0, runMilliseconds: 0 };

  const free = (s: Storage) => {
    if (s.disposed && s.pins === 0 && !s.producer) s.values = undefined;
  };
  const signatureOf = (key: string): number => {
    const known = signatures.get(key);
    if (known !== undefined) return known;
    // An attribute that differs from step to step would fill the table: begin anew, and with it the graphs that count by it.
    if (signatures.size >= SIGNATURES && pending.length === 0) {
      signatures.clear();
      graphs.clear();
    }
    signatures.set(key, signatures.size);
    return signatures.size - 1;
  };

  const compute = (trace: Trace, leaves: readonly HostArray[]): HostArray[] => {
    const { session } = graphs.of(trace);
    const results = session.run(leaves);
    counts.flushes++;
    counts.runMilliseconds += session.lastRun;
    return results;
  };
  const execute = (trace: Trace) => {
    for (const { storage: s } of trace.leaves) if (s.failure) throw s.failure;
    if (!trace.outputs.length) return;
    const results = compute(trace, trace.leaves.map((l) => l.storage.values!));
    trace.outputs.forEach((s, i) => {
      s.values = results[i]!;
      s.producer = undefined;
    });
  };

  const self: Recorder = {
    mode,
    get pending() {
      return pending;
    },
    record: (kernel, operation, inputs) => {
      const ragged = raggedOf(kernel, operation, inputs);
      const outputs = operation.outputs.map(({ shape, dtype }) => Object.assign(storage(sizeOf(shape), dtype, shape), { ragged, uniform: operation.uniform === true }));
      const node: RecordedNode = { kernel, signature: signatureOf(operation.key), operation, inputs, outputs, needed: false };
      for (const { storage: s } of inputs) s.pins++;
      for (const s of outputs) s.producer = node;
      pending.push(node);
      counts.operations++;
      if (mode === 'eager' || pending.length >= pendingLimit) self.flush();
      return outputs;
    },
    flush: () => {
      if (pending.length === 0) return;
      const nodes = pending;
      pending = [];
      const failed = (e: unknown) => {
        const failure = e instanceof Error ? e : new Error(String(e));
        for (const n of nodes) for (const s of n.outputs) if (s.producer) s.failure = failure;
      };
      try {
        // In eager mode the caller holds what the operation makes only after this.
        execute(traceOf(nodes, (s) => s.producer !== undefined && (mode === 'eager' || !s.disposed)));
      } catch (e) {
        failed(e);
        throw e;
      } finally {
        for (const n of nodes) for (const s of n.outputs) s.producer = undefined;
        for (const n of nodes)
          for (const { storage: s } of n.inputs) {
            s.pins--;
            free(s);
          }
      }
    },
    execute,
    compute,
    values: (s) => {
      if (s.producer) self.flush();
      if (s.failure) throw s.failure;
      return s.values!;
    },
    release: (s) => {
      s.disposed = true;
      free(s);
    },
    statistics: () => ({ ...counts, compiled: graphs.compiled, cached: graphs.size, pending: pending.length }),
    clear: () => graphs.clear(),
  };
  return self;
}

const SIGNATURES = 1 << 16;
