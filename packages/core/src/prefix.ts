import type { SourcePoint, StagePoint } from './points.ts';
import type { Step } from './step.ts';
import type { Stream, Streams } from './streams.ts';
import { tidy } from './tree.ts';
import { variantName } from './view.ts';

/** A block that was computed outside the gradient: what entered it, and what it gave for the streams it writes. */
export interface KnownBlock {
  readonly inputs: readonly (Stream | undefined)[];
  readonly outputs: Streams;
}

/**
 * The part of a pass that nothing trainable touches, computed once outside the gradient.
 * Observing runs the model off the tape: sources and blocks whose inputs are clean (made by clean sources and blocks,
 * not by a plugin) and in which nothing trainable acts run and are kept; the rest is skipped. In the learning phase the
 * kept streams stand in for those blocks. Because blocks declare the streams they read and write, LXMERT's language and
 * vision stacks are clean or not each for itself.
 */
export class Prefix {
  observing = true;
  /** What was drawn anew for this step while observing, such as a dropout mask: what is observed then holds for this step alone. */
  drawn: string | undefined;
  readonly blocks = new Map<string, KnownBlock>();
  readonly sources = new Map<number, Streams>();
  /** Clean streams, each with a name and the names of the sources' streams that it follows from. */
  readonly clean = new Map<Stream, { readonly name: string; readonly from: readonly string[] }>();

  /** `until`: run all that is clean, or sources alone. */
  constructor(private readonly until: 'blocks' | 'sources' = 'blocks') {}

  /** A block's streams if they are known, or a refusal to compute what belongs to the learning phase. */
  stage(step: Step, point: StagePoint, streams: Streams): Streams | undefined {
    if (step.rows) return undefined;
    const key = `${point.path}/${variantName(step.variant)}/${step.pass}/${step.training}${step.wanted ? '/read' : ''}`;
    const inputs = point.reads.map((name) => streams[name]);
    if (!this.observing) {
      const known = this.blocks.get(key);
      const same = known?.inputs.every((x, i) => x === inputs[i]);
      return known && same ? { ...streams, ...known.outputs } : undefined;
    }
    if (this.until === 'sources' || step.table.touched(point) || !inputs.every((x) => x && this.clean.has(x))) return { ...streams, ...unknown(point.writes) };
    const from = [...new Set(inputs.flatMap((x) => this.clean.get(x!)!.from))];
    const outputs = this.hold(step, point.writes, step.enter(point, streams), (name) => ({ name: `${key}/${name}`, from }));
    this.blocks.set(key, { inputs, outputs });
    return { ...streams, ...outputs };
  }

  /** A source's streams if they are known. */
  source(step: Step, point: SourcePoint, body: () => Streams): Streams | undefined {
    if (!this.observing) return this.sources.get(point.id);
    if (step.table.touched(point)) return unknown(point.writes);
    const outputs = this.hold(step, point.writes, tidy(body), (name) => ({ name: `${point.path}/${name}`, from: [`${point.path}/${name}`] }));
    this.sources.set(point.id, outputs);
    return outputs;
  }

  /** How many sources and blocks were computed outside the gradient. */
  get size(): number {
    return this.sources.size + this.blocks.size;
  }

  private hold(step: Step, writes: readonly string[], streams: Streams, called: (name: string) => { name: string; from: readonly string[] }): Streams {
    const outputs = Object.fromEntries(writes.flatMap((name) => (streams[name] ? [[name, streams[name]]] : [])));
    step.keep(outputs);
    for (const [name, s] of Object.entries(outputs)) if (!this.clean.has(s)) this.clean.set(s, called(name));
    return outputs;
  }
}

/** Runs a forward pass off the tape for what can be known before learning, and leaves it with the step. */
export function observe(step: Step, forward: () => unknown, until?: 'sources'): Prefix {
  const prefix = new Prefix(until);
  step.shared.prefix = prefix;
  try {
    tidy(() => {
      forward();
    });
  } catch (e) {
    if (e !== REACHED) throw e;
  } finally {
    prefix.observing = false;
  }
  return prefix;
}

/** Thrown where an observation meets what it must not compute. */
const REACHED = Symbol('the learning phase begins here');

const unknown = (names: readonly string[]): Streams => Object.fromEntries(names.map((name) => [name, NOT_YET]));

/**
 * A stream without arrays: whoever asks for one throws. Without a prototype it is a leaf to those who walk trees of arrays,
 * so that only a computation that needs it stops.
 */
export function absent(reached: () => never): Stream {
  const asked = { get: reached, enumerable: true };
  return Object.freeze(Object.create(null, { hidden: asked, mask: asked }));
}
const NOT_YET = absent(() => {
  throw REACHED;
});
