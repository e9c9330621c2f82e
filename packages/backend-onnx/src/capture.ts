import * as tf from '@tensorflow/tfjs';
import type { HostArray } from './arrays.ts';
import type { OnnxBackend } from './backend.ts';
import { CaptureError } from './errors.ts';
import { Recording, type NamedFeed } from './recording.ts';
import type { Reading } from './recorded.ts';
import { newestStorage, storage, type Storage } from './storage.ts';
import { traceOf, type Trace } from './trace.ts';

/** A step that is recorded by the first calls and replayed by later ones. */
export interface Captured {
  /** Runs the step: `results` are new tensors in the order in which `step` gives them. */
  call(args: readonly tf.Tensor[], signature?: string): tf.Tensor[];
  /** Host data on its way into the step, by name: `make` is called again for every replay. Outside of a recording it is just called. */
  feed(name: string, make: () => tf.Tensor): tf.Tensor;
  /** How the call before was run. */
  readonly last: 'recorded' | 'replayed' | 'refused' | undefined;
  /** Forgets what was recorded. */
  dispose(): void;
}

export interface CaptureOptions {
  /** Recorded signatures that are kept, least recently used dropped first; default 32. */
  readonly limit?: number;
  /** Told why a step cannot be replayed; it then runs as it is from there on. Without it, a CaptureError is thrown. */
  readonly onRefused?: (error: CaptureError) => void;
}

/** How a leaf of the recorded graph gets its values in a replay. */
type Source =
  | { readonly from: 'argument'; readonly index: number }
  | { readonly from: 'feed'; readonly index: number }
  | { readonly from: 'variable'; readonly variable: tf.Variable }
  | { readonly from: 'held'; readonly storage: Storage } // older than the step: a frozen weight
  | { readonly from: 'constant'; readonly values: HostArray }; // host data that is the same in every run

/** An array that the graph computes. */
interface Computed {
  readonly output: number; // position among the trace's outputs
  readonly shape: number[];
}

interface Recorded {
  readonly trace: Trace;
  readonly sources: readonly Source[];
  readonly feeds: readonly NamedFeed[];
  readonly results: readonly Computed[];
  readonly changed: readonly (Computed & { readonly variable: tf.Variable })[];
}

interface Entry {
  recorded: Recorded | undefined;
  replayable: boolean;
  recordings: number;
  refused: boolean;
}

/** After so many recordings without two equal ones a step is refused: the first may make variables, the second use them. */
const RECORDINGS = 4;

/**
 * Records `step` once per signature (shapes and types of its arguments, and what the caller adds) and replays it without
 * tracing. Arguments, variables and named feeds may differ from call to call; variables that the step assigns are assigned
 * by the replay. Everything else must be the same in every call: two recordings are compared, and a step in which an
 * anonymous constant changed, or whose values were read on the host, is refused. Results are the step's, bit for bit.
 * The step must not keep tensors but through its results and variables.
 */
export function capture(backend: OnnxBackend, step: (args: readonly tf.Tensor[]) => readonly tf.Tensor[], { limit = 32, onRefused }: CaptureOptions = {}): Captured {
  const entries = new Map<string, Entry>(); // in the order of their last use
  let recording: Recording | undefined;
  let last: Captured['last'];

  const entryOf = (key: string): Entry => {
    const entry = entries.get(key) ?? { recorded: undefined, replayable: false, recordings: 0, refused: false };
    entries.delete(key);
    entries.set(key, entry);
    const oldest = entries.entries().next().value;
    if (entries.size > limit && oldest) entries.delete(oldest[0]);
    return entry;
  };

  const refuse = (entry: Entry, reason: string): void => {
    entry.refused = true;
    entry.recorded = undefined;
    const error = new CaptureError(`this step cannot be captured: ${reason}. Give what differs from call to call as an argument, a variable, or a named feed.`);
    if (!onRefused) throw error;
    onRefused(error);
  };

  const record = (entry: Entry, args: readonly tf.Tensor[]): tf.Tensor[] => {
    const { results, recorded, obstacle } = recordOnce(backend, args, (r) => {
      recording = r;
      try {
        return tf.tidy(() => [...step(args)]);
      } finally {
        recording = undefined;
      }
    });
    last = 'recorded';
    entry.recordings++;
    if (!recorded) {
      refuse(entry, obstacle!);
      return results;
    }
    const before = entry.recorded;
    const difference = before && differenceOf(before, recorded);
    if (before && difference === undefined) entry.replayable = true;
    else if (entry.recordings >= RECORDINGS) refuse(entry, difference ?? 'no two recordings are equal');
    else entry.recorded = recorded;
    return results;
  };

  return {
    call: (args, signature = '') => {
      const entry = entryOf([signature, ...args.map((a) => `${a.dtype} ${a.shape.join('x')}`)].join('; '));
      if (entry.refused) {
        last = 'refused';
        return tf.tidy(() => [...step(args)]);
      }
      if (!entry.replayable || !entry.recorded) return record(entry, args);
      last = 'replayed';
      return replay(backend, entry.recorded, args);
    },
    feed: (name, make) => {
      const made = make();
      recording?.feed({ name, make }, backend.storageOf(made));
      return made;
    },
    get last() {
      return last;
    },
    dispose: () => entries.clear(),
  };
}

/** Runs the step as it is, and describes it for a replay, or says why that cannot be. */
function recordOnce(backend: OnnxBackend, args: readonly tf.Tensor[], run: (r: Recording) => tf.Tensor[]) {
  if (backend.recording) throw new CaptureError('a captured step cannot be called inside another one');
  backend.flush();
  const variables = new Map<Storage, tf.Variable>();
  for (const v of Object.values(tf.engine().state.registeredVariables)) if (backend.holds(v)) variables.set(backend.storageOf(v), v);
  const known = new Set(variables.values());
  const arguments_ = new Map(args.map((a, index) => [backend.storageOf(a), index]));
  const recording = new Recording(new Set([...variables.keys(), ...arguments_.keys()]), newestStorage());
  backend.recording = recording;
  let results: tf.Tensor[];
  try {
    results = run(recording);
  } finally {
    backend.recording = undefined;
  }
  try {
    if (recording.obstacle !== undefined) return { results, recorded: undefined, obstacle: recording.obstacle };
    const now = Object.values(tf.engine().state.registeredVariables).filter((v) => backend.holds(v));
    const changed = now.flatMap((variable) => {
      const own = backend.storageOf(variable);
      return variables.get(own) === variable || !own.producer ? [] : [{ variable, storage: own, shape: variable.shape }];
    });
    const foreign = now.find((v) => known.has(v) && variables.get(backend.storageOf(v)) !== v && !changed.some((c) => c.variable === v));
    if (foreign) return { results, recorded: undefined, obstacle: `variable ${foreign.name} is assigned something that is not computed in the step` };
    const given = results.map((t) => ({ storage: backend.storageOf(t), shape: t.shape }));
    const alien = given.findIndex((r) => !r.storage.producer);
    if (alien >= 0) return { results, recorded: undefined, obstacle: `its result ${alien} is not computed in the step` };
    const wanted = new Set([...given, ...changed].map((x) => x.storage));
    const trace = traceOf(backend.pending, (s) => wanted.has(s));
    const feeds = new Map(recording.feeds.map((f, index) => [f.storage, index]));
    const sources = trace.leaves.map(({ storage: s }): Source => {
      const [index, feed, variable] = [arguments_.get(s), feeds.get(s), variables.get(s)];
      if (index !== undefined) return { from: 'argument', index };
      if (feed !== undefined) return { from: 'feed', index: feed };
      if (variable) return { from: 'variable', variable };
      return s.id < recording.first ? { from: 'held', storage: s } : { from: 'constant', values: s.values! };
    });
    // The graph that is replayed later computes these results too: a recorded step and a replayed one agree bit for bit.
    backend.execute(trace);
    const at = new Map(trace.outputs.map((s, i) => [s, i]));
    const computed = <C extends { readonly storage: Storage }>(all: readonly C[]) => all.map(({ storage: s, ...rest }) => ({ ...rest, output: at.get(s)! }));
    const recorded: Recorded = { trace, sources, feeds: recording.feeds.map((f) => f.feed), results: computed(given), changed: computed(changed) };
    return { results, recorded, obstacle: undefined };
  } finally {
    backend.flush();
  }
}

/** What differs between two recordings, or undefined. */
function differenceOf(a: Recorded, b: Recorded): string | undefined {
  if (a.trace.key !== b.trace.key) return 'it computed something else in every recording';
  if (a.feeds.map((f) => f.name).join() !== b.feeds.map((f) => f.name).join()) return 'its named feeds differ between recordings';
  for (const [i, one] of a.sources.entries()) {
    const two = b.sources[i]!;
    const { storage: s, shape } = b.trace.leaves[i]!;
    const what = `${s.dtype} [${shape.join(', ')}]`;
    if (one.from !== two.from) return `an array ${what} came from ${one.from} in one recording and from ${two.from} in the next`;
    if (one.from === 'constant' && two.from === 'constant' && !equal(one.values, two.values))
      return `an anonymous constant ${what} changed between two recordings, from ${shown(one.values)} to ${shown(two.values)}, in ${consumer(b.trace, b.trace.leaves[i]!)}`;
    if (one.from === 'held' && two.from === 'held' && one.storage !== two.storage) return `an array ${what} made outside of it was another one in the next recording`;
    if (one.from === 'variable' && two.from === 'variable' && one.variable !== two.variable) return `it read variable ${one.variable.name}, then ${two.variable.name}`;
    if ((one.from === 'argument' || one.from === 'feed') && one.from === two.from && one.index !== two.index) return `an array ${what} came from another ${one.from}`;
  }
  const assigned = ({ changed }: Recorded) => changed.map((c) => `${c.variable.id} ${c.output}`).join();
  if (assigned(a) !== assigned(b)) return 'it assigned other variables, or other arrays to them';
  const given = ({ results }: Recorded) => results.map((r) => `${r.output} ${r.shape.join('x')}`).join();
  if (given(a) !== given(b)) return 'its results are other arrays of what it computed, or have other shapes';
  return undefined;
}

const equal = (a: HostArray, b: HostArray): boolean => a.length === b.length && a.every((x, i) => Object.is(x, b[i]));
const shown = (a: HostArray): string => `[${Array.from(a.subarray(0, 4)).join(', ')}${a.length > 4 ? ', ...' : ''}]`;
const consumer = ({ nodes }: Trace, { storage: s }: Reading): string => `kernel ${nodes.find((n) => n.inputs.some((i) => i.storage === s))?.kernel ?? 'of none'}`;

function replay(backend: OnnxBackend, { trace, sources, feeds, results, changed }: Recorded, args: readonly tf.Tensor[]): tf.Tensor[] {
  const made = feeds.map((f) => f.make());
  const read = (x: { readonly dataId: object }): HostArray => backend.valuesOf(backend.storageOf(x));
  const arrays = backend.compute(trace, sources.map((source) => {
    if (source.from === 'argument') return read(args[source.index]!);
    if (source.from === 'feed') return read(made[source.index]!);
    if (source.from === 'variable') return read(source.variable);
    if (source.from === 'constant') return source.values;
    if (source.storage.disposed) throw new CaptureError(`an array [${source.storage.shape.join(', ')}] that the captured step reads was made outside of it and has been disposed`);
    return backend.valuesOf(source.storage);
  }));
  for (const m of made) m.dispose();
  // Two tensors never share an array: one of them may be a variable that is updated in place.
  const taken = new Set<number>();
  const fresh = (i: number): Storage => {
    const { size, dtype, shape } = trace.outputs[i]!;
    const own = taken.has(i) ? arrays[i]!.slice() : arrays[i]!;
    taken.add(i);
    return storage(size, dtype, shape, own);
  };
  for (const { variable, output, shape } of changed) {
    const next = fresh(output);
    if (backend.exchange(variable, next)) continue;
    const tensor = backend.tensorOf(next, shape);
    variable.assign(tensor);
    tensor.dispose();
  }
  return results.map(({ output, shape }) => backend.tensorOf(fresh(output), shape));
}
