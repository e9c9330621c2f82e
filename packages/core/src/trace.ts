import * as tf from '@tensorflow/tfjs';

interface Entry {
  readonly value: tf.Tensor;
  slope?: tf.Tensor; // what the derivative of this op needs of the primal besides, once it was asked for
}

/**
 * The primal results of all lifted ops of one forward pass, in their order. A pass that replays it computes derivative parts
 * alone, from these constants: for one batch under hooks that leave every primal as it was.
 */
export interface PrimalTrace {
  readonly size: number; // arrays held
  readonly bytes: number;
  dispose(): void;
}

class Trace implements PrimalTrace {
  readonly entries: Entry[] = [];
  readonly owned = new Set<tf.Tensor>();
  at = 0;
  recording = true;
  private readonly born = tf.tidy(() => tf.scalar(0).id);

  get size(): number {
    return this.owned.size;
  }
  get bytes(): number {
    return [...this.owned].reduce((sum, t) => sum + t.size * 4, 0);
  }
  dispose(): void {
    tf.dispose([...this.owned]);
    this.owned.clear();
    this.entries.length = 0;
  }
  /** Holds what was made since the trace began; inputs and variables have other owners. */
  hold(t: tf.Tensor): tf.Tensor {
    if (t.id > this.born && !t.kept && !(t instanceof tf.Variable)) this.owned.add(tf.keep(t));
    return t;
  }
}

let current: Trace | undefined;

/** Whether derivative parts are left out just now. */
export const primalOnly = (): boolean => current?.recording ?? false;

/** Whether a trace is recorded or replayed just now: it owns what ops give. */
export const isTraced = (): boolean => current !== undefined;

/** The primal result of a lifted op: computed, and recorded or read where a trace is in force. */
export function primalResult(compute: () => tf.Tensor): tf.Tensor {
  if (!current) return compute();
  if (current.recording) {
    const value = current.hold(compute());
    current.entries.push({ value });
    return value;
  }
  const entry = current.entries[current.at++];
  if (!entry) throw new Error('a pass asked for more than its trace holds: it is of another batch, or other plugins were in force');
  return entry.value;
}

/** What the derivative of the op before needs of its primal; made once per trace. */
export function primalSlope(compute: () => tf.Tensor): tf.Tensor {
  const trace = current;
  const entry = trace?.entries[trace.at - 1];
  if (!trace || !entry) return compute();
  return (entry.slope ??= trace.hold(tf.tidy(compute)));
}

/** Runs f for its primal alone and gives what it did beside its result. */
export function recordPrimal<T>(f: () => T): { readonly value: T; readonly trace: PrimalTrace } {
  const trace = new Trace();
  const before = current;
  current = trace;
  try {
    return { value: f(), trace };
  } catch (e) {
    trace.dispose();
    throw e;
  } finally {
    current = before;
    trace.recording = false;
  }
}

/** Runs f with the primal results of a trace. @throws Error when f asks for another number of them. */
export function replayPrimal<T>(trace: PrimalTrace, f: () => T): T {
  if (!(trace instanceof Trace)) throw new Error('no trace: give what trace() gave');
  const before = current;
  current = trace;
  trace.at = 0;
  try {
    const value = f();
    if (trace.at !== trace.entries.length) throw new Error(`a pass used ${trace.at} of ${trace.entries.length} results of its trace: it is of another batch, or other plugins were in force`);
    return value;
  } finally {
    current = before;
  }
}
