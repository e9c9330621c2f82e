import type { ActivationStore, CacheStatistics } from './cache.ts';
import { adopt } from './engine.ts';
import { absent, observe, Prefix } from './prefix.ts';
import type { Step } from './step.ts';
import type { Stream, Streams } from './streams.ts';
import { evaluate } from './ops.ts';
import { tidy } from './tree.ts';
import { Dual } from './value.ts';

/** Reads the prefix of a training step from a store, or computes and keeps it. */
export interface PrefixCache {
  /** The prefix, its arrays the step's; undefined where it cannot be kept: then it is observed as always. */
  prefix(step: Step, forward: () => unknown): Promise<Prefix | undefined>;
  readonly statistics: CacheStatistics;
}

/** What the prefix of every step of a plan consists of. Streams go by name. */
interface Structure {
  readonly sources: readonly (readonly [id: number, streams: Readonly<Record<string, string>>])[];
  readonly blocks: readonly { readonly key: string; readonly inputs: readonly (string | undefined)[]; readonly outputs: Readonly<Record<string, string>> }[];
  /** Streams that the learning phase reads; those before them are never asked for. */
  readonly frontier: readonly { readonly name: string; readonly from: readonly string[] }[];
}

/**
 * Activations below the first place that learns, by sample. A stream's key is a hash of the rows of those sources' streams
 * that it follows from, masks and padding included: LXMERT's language stack is kept once per question, its vision stack once
 * per image. The first step that is read in full is computed as well, and both must agree bit for bit.
 * `salt` names all that the values depend on beyond the rows: weights and frozen plugins.
 */
export function prefixCache(store: ActivationStore, salt: () => Promise<string>): PrefixCache {
  let structure: Structure | undefined;
  let salted: string | undefined;
  let checked = false;
  const counts = { hits: 0, misses: 0, full: false };
  let refused: string | undefined;
  const refuse = (why: string): undefined => {
    refused = why;
    return undefined;
  };

  const keysOf = async (rows: ReadonlyMap<string, readonly string[]>, { name, from }: Structure['frontier'][number], batch: number): Promise<string[]> =>
    Promise.all(Array.from({ length: batch }, (_, b) => digest(new TextEncoder().encode([salted, name, ...from.map((f) => rows.get(f)![b])].join('|')))));

  const compute = (step: Step, forward: () => unknown): Prefix | undefined => {
    const prefix = observe(step, forward);
    if (prefix.drawn !== undefined) return refuse(`'${prefix.drawn}' is drawn anew in every step below the first place that learns: train without dropout, or without the cache`);
    if (!prefix.blocks.size) return refuse('no block lies below the first place that learns');
    if ([...prefix.clean.keys()].some((s) => s.hidden instanceof Dual || s.residual)) return refuse('what is kept must be plain streams between blocks');
    return prefix;
  };

  return {
    prefix: async (step, forward) => {
      if (refused !== undefined) return undefined;
      if (!globalThis.crypto?.subtle) return refuse('this environment has no crypto.subtle to name samples with');
      salted ??= store.persistent ? await salt() : '';
      if (!structure) {
        const prefix = compute(step, forward);
        if (!prefix) return undefined;
        structure = structureOf(prefix, step, forward);
      }
      const { frontier } = structure;
      const rows = await hashes(observe(step, forward, 'sources'), frontier.flatMap((f) => f.from));
      const keys = await Promise.all(frontier.map((f) => keysOf(rows, f, step.shared.batch)));
      const found = await Promise.all(keys.map((own) => Promise.all(own.map((key) => store.get(key)))));
      const known = found.map((own) => own.flatMap((x) => x ?? []));
      const all = known.every((own) => own.length === step.shared.batch);
      if (all && checked) {
        counts.hits++;
        return given(structure, known, step);
      }
      const prefix = compute(step, forward);
      if (!prefix) return undefined;
      const computed = await Promise.all(frontier.map(async (f) => entriesOf([...prefix.clean].find(([, c]) => c.name === f.name)![0])));
      counts.misses++;
      if (all) {
        checked = true;
        const differs = frontier.findIndex((_, i) => known[i]!.some((own, b) => !equal(own, computed[i]![b]!)));
        if (differs >= 0) return refuse(`'${frontier[differs]!.name}' was not computed bit for bit as before`);
      }
      for (const [i, own] of computed.entries())
        for (const [b, entry] of own.entries()) if (!found[i]![b] && !(await store.set(keys[i]![b]!, entry))) counts.full = true;
      return given(structure, computed, step);
    },
    get statistics() {
      return { ...counts, refused };
    },
  };
}

/** What of a prefix the learning phase reads, found by running it with nothing at hand and giving it what it asks for. */
function structureOf(prefix: Prefix, step: Step, forward: () => unknown): Structure {
  const nameOf = (s: Stream | undefined) => (s ? prefix.clean.get(s)?.name : undefined);
  const named = (streams: Streams) => Object.fromEntries(Object.entries(streams).map(([key, s]) => [key, nameOf(s)!]));
  const whole = {
    sources: [...prefix.sources].map(([id, streams]) => [id, named(streams)] as const),
    blocks: [...prefix.blocks].map(([key, { inputs, outputs }]) => ({ key, inputs: inputs.map(nameOf), outputs: named(outputs) })),
  };
  const asked = new Set<string>();
  const streams = new Map([...prefix.clean].map(([s, { name }]) => [name, s]));
  for (;;) {
    let next: string | undefined;
    const trial = build(whole, (name) => (asked.has(name) ? streams.get(name)! : absent(() => {
      next = name;
      throw ASKED;
    })));
    try {
      step.shared.prefix = trial;
      const apart = step.fork({ losses: new Map(), memo: new Map() });
      tidy(() => {
        apart.by('', forward);
      });
    } catch (e) {
      if (e !== ASKED) throw e;
    }
    if (next === undefined) break;
    asked.add(next);
  }
  return { ...whole, frontier: [...prefix.clean.values()].filter((c) => asked.has(c.name)) };
}

const ASKED = Symbol('a stream of the prefix was asked for');

/** A prefix with these streams in its places. */
function build({ sources, blocks }: Omit<Structure, 'frontier'>, streamOf: (name: string) => Stream): Prefix {
  const prefix = new Prefix();
  prefix.observing = false;
  const made = new Map<string, Stream>(); // one object for each stream: blocks know their inputs by identity
  const get = (name: string): Stream => {
    const known = made.get(name) ?? streamOf(name);
    made.set(name, known);
    return known;
  };
  const all = (names: Readonly<Record<string, string>>) => Object.fromEntries(Object.entries(names).map(([key, name]) => [key, get(name)]));
  for (const [id, names] of sources) prefix.sources.set(id, all(names));
  for (const { key, inputs, outputs } of blocks) prefix.blocks.set(key, { inputs: inputs.map((name) => (name === undefined ? undefined : get(name))), outputs: all(outputs) });
  return prefix;
}

/** The prefix of a step from the entries of its rows, by stream of the frontier. */
function given(structure: Structure, entries: readonly (readonly Float32Array[])[], step: Step): Prefix {
  const at = new Map(structure.frontier.map(({ name }, i) => [name, entries[i]!]));
  return build(structure, (name) => {
    const own = at.get(name);
    return own ? step.keep(streamFrom(own)) : absent(() => {
      throw new Error(`stream '${name}' of the prefix is asked for, and was not in the first step: leave the cache off`);
    });
  });
}

/** One row: T, then hidden [T, D], then mask [T]. */
async function entriesOf({ hidden, mask }: Stream): Promise<Float32Array[]> {
  const [h, m] = [await evaluate(hidden).data<'float32'>(), await mask.data<'float32'>()];
  const [batch, tokens, width] = hidden.shape as [number, number, number];
  const size = tokens * width;
  return Array.from({ length: batch }, (_, b) => {
    const entry = new Float32Array(1 + size + tokens);
    entry[0] = tokens;
    entry.set(h.subarray(b * size, (b + 1) * size), 1);
    entry.set(m.subarray(b * tokens, (b + 1) * tokens), 1 + size);
    return entry;
  });
}

function streamFrom(rows: readonly Float32Array[]): Stream {
  const [first] = rows;
  const tokens = first![0]!;
  const size = first!.length - 1 - tokens;
  const [hidden, mask] = [new Float32Array(rows.length * size), new Float32Array(rows.length * tokens)];
  rows.forEach((row, b) => {
    hidden.set(row.subarray(1, 1 + size), b * size);
    mask.set(row.subarray(1 + size), b * tokens);
  });
  return { hidden: adopt(hidden, [rows.length, tokens, size / tokens]), mask: adopt(mask, [rows.length, 1, 1, tokens]) };
}

/** A hash of every row of the sources' streams, by name. */
async function hashes(prefix: Prefix, names: readonly string[]): Promise<Map<string, string[]>> {
  const found = new Map<string, string[]>();
  for (const [stream, { name }] of prefix.clean) {
    if (!names.includes(name)) continue;
    const rows = await entriesOf(stream);
    found.set(name, await Promise.all(rows.map((row) => digest(row))));
  }
  return found;
}

/** SHA-256 in hexadecimal. */
async function digest(values: Float32Array | Uint8Array): Promise<string> {
  const bytes = new Uint8Array(values.buffer as ArrayBuffer, values.byteOffset, values.byteLength);
  const hash = new Uint8Array(await crypto.subtle.digest('SHA-256', bytes));
  return Array.from(hash, (b) => b.toString(16).padStart(2, '0')).join('');
}

const equal = (a: Float32Array, b: Float32Array): boolean => a.length === b.length && a.every((x, i) => Object.is(x, b[i]));
