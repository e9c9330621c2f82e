import * as tf from '@tensorflow/tfjs';
import type { Way } from './account.ts';
import type { StepKey } from './feed.ts';
import { scaleGradient } from './gradient.ts';
import { dropoutMask, noise, type Distribution, type NoiseKey } from './noise.ts';
import { add, embed, layerNorm, mask, matMul, reshape, takeRows } from './ops.ts';
import type { OwnedStage, OwnedWeight, Plan, Table } from './plan.ts';
import type { EmbeddingPoint, LinearSite, NormPoint, ParameterPoint, Point, SitePoint, SourcePoint, StagePoint, WeightPoint } from './points.ts';
import { isolate } from './isolate.ts';
import type { Leaf, Shared, Slot, StepOptions } from './shared.ts';
import { gatherBatch } from './rows.ts';
import { hasGroups, isGroup, RaggedError, type Rows } from './samples.ts';
import type { Streams } from './streams.ts';
import { isTraced } from './trace.ts';
import { mapValues, tensorsIn, tidy } from './tree.ts';
import { Dual, primal, type Value } from './value.ts';
import type { Variant, View } from './view.ts';
import { isLinear, materialise, type LinearParams, type Params } from './weights.ts';

interface State {
  readonly table: Table;
  readonly variant: Variant;
  readonly pass: number;
  readonly rows: Rows | undefined; // of the whole batch
  readonly range: readonly [number, number] | undefined;
  readonly wanted: tf.Tensor | undefined; // of the whole batch: [B, T, 1]
}

/** One forward computation under one view. The model asks it to compute; plugins see the rest. */
export class Step {
  constructor(
    readonly shared: Shared,
    private readonly state: State,
  ) {}

  get training(): boolean {
    return this.shared.training;
  }
  /** The model's inputs of this step, for policies that run a model of their own. */
  get inputs(): unknown {
    return this.shared.inputs;
  }
  get variant(): Variant {
    return this.state.variant;
  }
  get pass(): number {
    return this.state.pass;
  }
  /** The rows of the batch that run here; undefined is all of them. */
  get rows(): Rows | undefined {
    return this.state.rows;
  }
  /** Ids of the samples that run here. */
  get samples(): readonly string[] {
    const { samples } = this.shared;
    return this.rows ? this.positions.map((i) => samples[i]!) : samples;
  }
  /** Positions in the batch of the samples that run here. @throws RaggedError when only the graph knows them. */
  get positions(): readonly number[] {
    return this.rows ? listOf(this.rows) : this.shared.samples.map((_, i) => i);
  }
  /** Whether samples that go different ways here can be groups that only the graph knows. */
  get groups(): boolean {
    const { plan, account, batch } = this.shared;
    return batch > 1 && account === undefined && plan.mixes === undefined && !this.rows && hasGroups();
  }
  get table(): Table {
    return this.state.table;
  }

  /** y = x kernel + bias + sum (x a) b with the parameters in force; [.., in] -> [.., out]. */
  linear(use: LinearSite, x: Value): Value {
    const seen = this.at(use.input, x);
    const hooks = this.table.weights[use.of.id];
    const alone = hooks?.length === 1 ? hooks[0]! : undefined;
    const y = alone?.activation
      ? this.by(alone.instance, () => alone.activation!(seen, use.of.pretrained, this))
      : this.product(seen, this.weight(use.of));
    return this.at(use, y);
  }

  /** gamma (x - mean) / sqrt(var + 1e-12) + beta with the parameters in force; [.., D]. */
  norm(point: NormPoint, x: Value): Value {
    const { gamma, beta } = this.weight(point);
    return layerNorm(x, gamma, beta);
  }

  /** Rows of a table; [B, T] -> [B, T, D]. A padding row gets no gradient. */
  embed(point: EmbeddingPoint, ids: tf.Tensor): Value {
    const rows = this.rowsOf(this.weight(point).table, ids);
    const frozen = !this.table.weights[point.id] || currentTape() === undefined;
    if (point.padding === undefined || frozen) return rows;
    const counts = tf.cast(tf.notEqual(tf.expandDims(ids, -1), point.padding), 'float32'); // [B, T, 1]
    return rows instanceof Dual ? new Dual(scaleGradient(rows.primal, counts), scaleGradient(rows.tangent, counts)) : scaleGradient(rows, counts);
  }

  private rowsOf(table: Value, ids: tf.Tensor): Value {
    const { tables, isolated } = this.shared;
    if (!tables || isolated || !(table instanceof tf.Variable) || currentTape() === undefined) return embed(table, ids);
    const index: tf.Tensor1D = tf.reshape(ids, [-1]);
    const leaf = tables.read(table, index);
    if (!leaf) return embed(table, ids);
    // The table stands outside of the gradient, which ends at the leaf: it is never as large as the table.
    const op = tf.customGrad(() => ({ value: tf.gather(table, index), gradFunc: (dy: tf.Tensor) => dy }));
    return reshape(op(leaf), [...ids.shape, table.shape[1]!]);
  }

  /** Inverted dropout while training, keyed by (seed, step, sample, place, pass); the identity otherwise, and where a plugin wants none. */
  dropout(site: Point, x: Value, rate: number): Value {
    if (!this.training || rate === 0 || !this.shared.plan.dropout) return x;
    const shape = x.shape.slice(1);
    const m = this.feed(`dropout ${site.path}`, (key) => dropoutMask(key, site.path, shape, rate));
    return mask(x, m);
  }

  /** Random numbers keyed by (seed, step, sample, place, pass): [rows, ...shape]. */
  noise(path: string, shape: readonly number[], distribution: Distribution): tf.Tensor {
    return this.feed(`noise ${path}`, (key) => noise(key, path, shape, distribution));
  }

  /** A value on its way past a site, as the hooks there leave it. */
  at(site: SitePoint, x: Value): Value {
    const hooks = this.table.values[site.id];
    let y = x;
    if (hooks) for (const h of hooks) y = this.by(h.instance, () => h.apply(y, this));
    this.shared.observe?.(site, y, this);
    return y;
  }

  /** Runs a stage with the hooks around it. */
  stage(point: StagePoint, streams: Streams): Streams {
    if (point.role !== 'block') return this.enter(point, streams);
    const { range } = this.state;
    if (range && (point.block! < range[0] || point.block! >= range[1])) return streams;
    const run = () => {
      const known = this.shared.prefix?.stage(this, point, streams);
      if (known) return known;
      return this.shared.recompute && this.table.touched(point) ? isolate(this, point, streams) : this.enter(point, streams);
    };
    return this.place(point, run);
  }

  /** Runs a source: inputs to streams. */
  source(point: SourcePoint, body: () => Streams): Streams {
    return this.place(point, () => this.shared.prefix?.source(this, point, body) ?? this.once(point, body));
  }

  /** The parameters in force at a place: made once a step and shared by every pass, branch and use that sees the same hooks. */
  weight<P extends Params>(at: WeightPoint<P>): P {
    const hooks = this.table.weights[at.id];
    if (!hooks && !this.shared.isolated) return at.pretrained;
    const key = hooks ?? at;
    const tape = currentTape();
    const entries = this.shared.memo.get(key);
    const known = entries?.find((e) => e.tape === tape || e.tape === EVERYWHERE);
    // The memo of a place holds what its own hooks made of its own parameters.
    if (known) return known.params as P;
    if (!hooks) return at.pretrained;
    const params = tidy(() => this.fold(at, hooks));
    this.keep(params);
    this.remember(key, tape, params);
    return params;
  }

  /** A plugin's own variable as it is in force: itself, or what another plugin makes of it. */
  read(parameter: ParameterPoint): Value {
    return this.weight(parameter).value;
  }

  /** Keeps a value for the rest of the step; rows are those of the whole batch. */
  set<T>(slot: Slot<T>, value: T): void {
    if (this.rows) throw new Error(`slot '${slot.name}' set inside a branch of some rows: set it before routing`);
    this.shared.slots.set(slot, this.keep(value));
  }

  /** Reads a slot, its arrays cut to the rows that run here. */
  get<T>(slot: Slot<T>): T {
    if (!this.shared.slots.has(slot)) throw new Error(`slot '${slot.name}' read before it was set`);
    const held = this.shared.slots.get(slot);
    const { rows } = this;
    // Slots are written through `set`, whose type is the slot's.
    return (rows ? mapValues(held, (x) => takeRows(x, rows)) : held) as T;
  }

  /** Whether a slot has been set in this step. */
  has(slot: Slot<unknown>): boolean {
    return this.shared.slots.has(slot);
  }

  /** Sets a slot to a decision whose gradient the learning phase hands back. Belongs in `begin`. */
  decide(slot: Slot<tf.Tensor>, leaf: Leaf): void {
    this.set(slot, leaf.value);
    this.shared.leaves.set(slot, leaf);
  }

  /** Adds an auxiliary scalar loss; the training step sums them all. */
  loss(name: string, x: tf.Tensor): void {
    if (this.shared.prefix?.observing) return; // what is only observed is computed again for the loss
    const { losses } = this.shared;
    const held = losses.get(name);
    losses.set(name, this.keep(held ? tf.add(held, x) : x));
  }

  /**
   * Host data on its way into the computation: everything that differs from step to step enters here by name. It may follow
   * from the key alone (seed, step, samples that run here, pass): where the step is recorded, `make` is called again for
   * every replay.
   */
  feed(name: string, make: (key: NoiseKey) => tf.Tensor): tf.Tensor {
    const { rows, pass } = this;
    const { seed, step, samples, feed } = this.shared;
    if (this.shared.prefix?.observing) this.shared.prefix.drawn ??= name;
    const own = isGroup(rows) ? undefined : rows;
    const here = (key: StepKey) => make({ seed: key.seed, step: key.step, samples: own ? own.map((i) => key.samples[i]!) : key.samples, pass });
    const made = feed ? feed(name, here) : here({ seed, step, samples });
    // Of a group that the host does not know all rows are made.
    return isGroup(rows) && made.shape[0] === samples.length ? gatherBatch(made, rows) : made;
  }

  /** The same step under another view. */
  with(change: View): Step {
    const { rows: outer } = this;
    const { variant = this.variant, pass = this.pass, range = this.state.range } = change;
    const rows = change.rows ? (outer ? listOf(change.rows).map((i) => listOf(outer)[i]!) : change.rows) : outer;
    const shared = change.training === undefined ? this.shared : { ...this.shared, training: change.training };
    return new Step(shared, { table: shared.plan.table(variant, pass), variant, pass, rows, range, wanted: this.state.wanted });
  }

  /**
   * This step, knowing that of what leaves a block only some tokens are read, with 1 in `tokens` [B, T, 1], so that the block
   * need not compute the others. The step itself where somebody else sees them: an observer, a value hook in the block, a hook
   * that edits or repeats the block or what it lies in.
   */
  reading(block: string, tokens: () => tf.Tensor): Step {
    return this.shared.observe || this.shared.plan.sees(block) ? this : new Step(this.shared, { ...this.state, wanted: this.keep(tidy(tokens)) });
  }

  /** Which tokens of the rows that run here are read behind the block that `reading` named, [B, T, 1]; undefined is all. */
  get wanted(): tf.Tensor | undefined {
    const { wanted, rows } = this.state;
    return wanted && rows ? primal(takeRows(wanted, rows)) : wanted;
  }

  /** The same step without any plugin, to run a model of one's own inside it: a policy, a teacher. */
  bare(): Step {
    const none: Table = { weights: [], values: [], stages: [], touched: () => false };
    return new Step({ ...this.shared, observe: undefined, prefix: undefined, sources: new Map() }, { ...this.state, table: none, variant: 'pretrained', pass: 0, range: undefined, wanted: undefined });
  }

  /** The same view with other shared state. */
  fork(change: Partial<Shared>): Step {
    return new Step({ ...this.shared, ...change }, this.state);
  }

  /** Holds tensors until the step is finished. */
  keep<T>(tree: T): T {
    for (const t of tensorsIn(tree)) {
      // Frozen arrays, inputs and variables are older than the step and not its own to dispose.
      if (t.kept || t.id < this.shared.born || t instanceof tf.Variable) continue;
      tf.keep(t);
      this.shared.kept.add(t);
    }
    return tree;
  }

  /** Runs f with its products booked to a plugin, and to the rows that run here. */
  by<T>(instance: string, f: () => T): T {
    const { account } = this.shared;
    return account ? account.within({ instance, rows: this.rows && listOf(this.rows) }, f) : f();
  }

  /** Runs f, in which each row that runs here takes one of the ways. Where the step is counted, what was expected is counted with it. */
  expect<T>(ways: () => readonly Way[], f: () => T): T {
    const { account } = this.shared;
    return account ? account.expect(this.rows && listOf(this.rows), ways(), f) : f();
  }

  /** Puts known parameters where the memo looks for them, for every tape: an isolated stage reads its arguments this way. */
  assume(key: unknown, params: Params): void {
    this.remember(key, EVERYWHERE, params);
  }

  /** Runs a stage from its first hook on. */
  enter(point: StagePoint, streams: Streams): Streams {
    return tidy(() => this.around(point, -1, streams));
  }

  /** Runs the hooks around a stage that come after `index`, then the stage. A change of view looks its hooks up anew. */
  private around(point: StagePoint, index: number, streams: Streams): Streams {
    const hook: OwnedStage | undefined = this.table.stages[point.id]?.find((h) => h.index > index);
    if (!hook) return point.body(streams, this);
    const run = (s: Streams, change?: View) => {
      const inside = change ? this.with(change) : this;
      return inside.by('', () => inside.around(point, hook.index, s));
    };
    return this.by(hook.instance, () => hook.around(run, streams, this));
  }

  /** In prediction what a source gives is the same for a policy and for the pass that follows it, where no plugin acts on it. */
  private once(point: SourcePoint, body: () => Streams): Streams {
    const { sources, plan, training, observe, account } = this.shared;
    if (training || observe || account || isTraced() || this.rows || currentTape() !== undefined || !plan.leaves(point)) return tidy(body);
    const known = sources.get(point.id) ?? this.keep(tidy(body));
    sources.set(point.id, known);
    return known;
  }

  private place<T>(point: Point, f: () => T): T {
    const { account } = this.shared;
    return account ? account.within({ place: point.path }, f) : f();
  }

  private fold<P extends Params>(at: WeightPoint<P>, hooks: readonly OwnedWeight[]): P {
    const { account } = this.shared;
    let p: Params = at.pretrained;
    for (const h of hooks) {
      // A scaling is of the whole weight, products that earlier scalings left in the tail included.
      if (h.mode === 'scale' && !h.tail && isLinear(p) && p.lowRank.length) p = materialise(p);
      const given = p;
      p = account ? account.shared(h.instance, () => h.apply(given, this)) : h.apply(given, this);
      const before = isLinear(given) ? given.lowRank.length : 0;
      if (account && hasDual(p)) account.tangents ??= h.instance;
      if (account && isLinear(p)) p = { ...p, lowRank: p.lowRank.map((l, i) => (i < before ? l : { ...l, by: h.instance })) };
    }
    return p as P; // every hook returns the kind of place it was given
  }

  private product(x: Value, w: LinearParams): Value {
    const lead = x.shape.slice(0, -1);
    // Flattened to 2-D: tfjs has no gradient for a product that broadcasts its batch.
    const flat = reshape(x, [-1, x.shape.at(-1)!]);
    let y = matMul(flat, w.kernel);
    for (const { a, b, by = '' } of w.lowRank) y = this.by(by, () => add(y, matMul(matMul(flat, a), b)));
    if (w.bias) y = add(y, w.bias);
    return reshape(y, [...lead, y.shape.at(-1)!]);
  }

  private remember(key: unknown, tape: unknown, params: Params): void {
    const entries = this.shared.memo.get(key);
    if (entries) entries.push({ tape, params });
    else this.shared.memo.set(key, [{ tape, params }]);
  }
}

/** Starts a step. Its tensors live until `finish`. */
export function startStep(plan: Plan, inputs: unknown, batch: number, options: StepOptions = {}): Step {
  const { training = false, seed = 0, step = 0, recompute = false, variant = 'adapted', observe, account, feed } = options;
  const samples = options.samples ?? Array.from({ length: batch }, (_, i) => String(i));
  if (samples.length !== batch) throw new Error(`${samples.length} sample ids for a batch of ${batch}`);
  const shared: Shared = {
    plan, inputs, batch, training, seed, step, recompute, samples, observe, account, feed,
    slots: new Map(), memo: new Map(), sources: new Map(), losses: new Map(), leaves: new Map(), kept: new Set(), born: newestId(), isolated: false, prefix: undefined, tables: undefined,
  };
  return new Step(shared, { table: plan.table(variant, 0), variant, pass: 0, rows: undefined, range: undefined, wanted: undefined });
}

/** An id above those of all tensors there are. */
const newestId = (): number => tf.tidy(() => tf.scalar(0).id);

/** Disposes everything a step kept. */
export function finish(step: Step): void {
  tf.dispose([...step.shared.kept]);
  step.shared.kept.clear();
  step.shared.memo.clear();
  step.shared.sources.clear();
}

/** Rows as a list. @throws RaggedError when only the graph knows them. */
function listOf(rows: Rows): readonly number[] {
  if (isGroup(rows)) throw new RaggedError('which samples take this way is asked inside of it');
  return rows;
}

/** Whether an array of a place has a derivative. */
const hasDual = (p: Params): boolean => Object.values(p).some((x) => x instanceof Dual);

const EVERYWHERE = Symbol('every tape');

/** The gradient tape in force, by identity; undefined outside of one. A value made off a tape must not be reused on it. */
function currentTape(): unknown {
  const { gradientDepth, kernelDepth, activeTape } = tf.engine().state;
  return gradientDepth > 0 && kernelDepth === 0 ? activeTape : undefined;
}
