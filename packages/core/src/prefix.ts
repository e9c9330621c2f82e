import type { SourcePoint, StagePoint } from './points.ts';
import type { Step } from './step.ts';
import type { Stream, Streams } from './streams.ts';
import type { Frontier, PrefixCache } from './prefix-cache.ts';
import { tidy } from './tree.ts';
import { variantName } from './view.ts';

/**
 * The part of a pass that nothing trainable touches, computed once outside the gradient.
 * Observing runs the model off the tape: sources and blocks whose inputs are clean (made by clean sources and blocks,
 * not by a plugin) and in which nothing trainable acts run and are kept; the rest is skipped. In the learning phase the
 * kept streams stand in for those blocks. Because blocks declare the streams they read and write, LXMERT's language and
 * vision stacks are clean or not each for itself.
 */
export class Prefix {
  observing = true;
  private readonly clean = new Set<Stream>();
  private readonly blocks = new Map<string, { inputs: readonly (Stream | undefined)[]; outputs: Streams }>();
  private readonly sources = new Map<number, Streams>();
  private restored: Frontier | undefined;

  /** A block's streams if they are known, or a refusal to compute what belongs to the learning phase. */
  stage(step: Step, point: StagePoint, streams: Streams): Streams | undefined {
    if (step.rows) return undefined;
    const key = `${point.id}/${variantName(step.variant)}/${step.pass}/${step.training}`;
    if (this.restored?.blocks.has(key)) return streams; // they have passed it already
    const inputs = point.reads.map((name) => streams[name]);
    if (!this.observing) {
      const known = this.blocks.get(key);
      const same = known?.inputs.every((x, i) => x === inputs[i]);
      return known && same ? { ...streams, ...known.outputs } : undefined;
    }
    if (step.table.touched(point) || !inputs.every((x) => x && this.clean.has(x))) return { ...streams, ...unknown(point.writes) };
    const outputs = this.hold(step, point.writes, step.enter(point, streams));
    this.blocks.set(key, { inputs, outputs });
    return { ...streams, ...outputs };
  }

  /** A source's streams if they are known. */
  source(step: Step, point: SourcePoint, body: () => Streams): Streams | undefined {
    if (this.restored) return step.table.touched(point) ? undefined : Object.fromEntries(point.writes.flatMap((name) => (this.restored!.streams[name] ? [[name, this.restored!.streams[name]]] : [])));
    if (!this.observing) return this.sources.get(point.id);
    if (step.table.touched(point)) return unknown(point.writes);
    const outputs = this.hold(step, point.writes, tidy(body));
    this.sources.set(point.id, outputs);
    return outputs;
  }

  /** How many sources and blocks were computed outside the gradient. */
  get size(): number {
    return this.sources.size + this.blocks.size + (this.restored?.blocks.size ?? 0);
  }

  /** What left the observed part: of every stream what its last clean block, or its source, gave. */
  get frontier(): Frontier {
    const streams: Record<string, Stream> = {};
    for (const outputs of [...this.sources.values(), ...[...this.blocks.values()].map((b) => b.outputs)]) Object.assign(streams, outputs);
    return { streams, blocks: new Set(this.blocks.keys()) };
  }

  /** Stands in for an observation that a cache holds. */
  restore(frontier: Frontier): void {
    this.restored = frontier;
    this.observing = false;
  }

  private hold(step: Step, writes: readonly string[], streams: Streams): Streams {
    const outputs = Object.fromEntries(writes.flatMap((name) => (streams[name] ? [[name, streams[name]]] : [])));
    step.keep(outputs);
    for (const s of Object.values(outputs)) this.clean.add(s);
    return outputs;
  }
}

/** Runs a forward pass off the tape for what can be known before learning, and leaves it with the step. */
export function observe(step: Step, forward: () => unknown, cache?: PrefixCache): Prefix {
  const prefix = new Prefix();
  step.shared.prefix = prefix;
  const known = cache?.read(step);
  if (known) {
    step.keep(known.streams);
    prefix.restore(known);
    return prefix;
  }
  try {
    tidy(() => {
      forward();
    });
  } catch (e) {
    if (e !== REACHED) throw e;
  } finally {
    prefix.observing = false;
  }
  cache?.write(step, prefix.frontier);
  return prefix;
}

/** Thrown where an observation meets what it must not compute. */
const REACHED = Symbol('the learning phase begins here');

const unknown = (names: readonly string[]): Streams => Object.fromEntries(names.map((name) => [name, NOT_YET]));

const reached = (): never => {
  throw REACHED;
};
// Without a prototype it is a leaf to those who walk trees of arrays, so that only a computation that needs it stops.
const NOT_YET: Stream = Object.freeze(Object.create(null, { hidden: { get: reached, enumerable: true }, mask: { get: reached, enumerable: true } }));
