import type { NativeSession } from './binding.ts';
import { openSession, type Session } from './session.ts';
import { modelOf, type Model, type Trace } from './trace.ts';

export interface CompiledGraph {
  readonly model: Model;
  readonly session: Session;
}

/** Compiled graphs by structure, the least recently used of which are dropped. */
export interface GraphCache {
  of(trace: Trace): CompiledGraph;
  readonly size: number;
  readonly compiled: number; // so far
  clear(): void;
}

export function graphCache(create: () => NativeSession, limit: number, threadsFor: (macs: number) => number): GraphCache {
  const graphs = new Map<string, CompiledGraph>(); // in the order of their last use
  let compiled = 0;
  return {
    of: (trace) => {
      const known = graphs.get(trace.key);
      if (known) {
        graphs.delete(trace.key);
        graphs.set(trace.key, known);
        return known;
      }
      const model = modelOf(trace);
      const graph = { model, session: openSession(create, model, { threads: threadsFor(trace.macs) }) };
      graphs.set(trace.key, graph);
      compiled++;
      if (graphs.size > limit) {
        const [oldest] = graphs;
        oldest![1].session.dispose();
        graphs.delete(oldest![0]);
      }
      return graph;
    },
    get size() {
      return graphs.size;
    },
    get compiled() {
      return compiled;
    },
    clear: () => {
      for (const g of graphs.values()) g.session.dispose();
      graphs.clear();
    },
  };
}
