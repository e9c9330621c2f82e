import * as tf from '@tensorflow/tfjs';
import { Account, type CostRow } from './account.ts';
import { addDecisions, differentiate } from './differentiate.ts';
import { ConflictError, didYouMean, EspalierError, RefusedError } from './errors.ts';
import { fingerprint } from './fingerprint.ts';
import { denseGradient } from './gradient.ts';
import { FROZEN, hostOf } from './host.ts';
import { learnerOf, type Learner, type LearnerOptions } from './learner.ts';
import { evaluate } from './ops.ts';
import { Plan, type Attached } from './plan.ts';
import type { ModelWeight, ParameterPoint } from './points.ts';
import type { GroupDefaults, Plugin } from './plugin.ts';
import { weightsOf, type Scope, type TensorSource } from './scope.ts';
import { withGroups } from './samples.ts';
import type { StepOptions } from './shared.ts';
import { finish, startStep, type Step } from './step.ts';
import type { Streams } from './streams.ts';
import type { TokenMasks } from './tokens.ts';
import { recordPrimal, replayPrimal, type PrimalTrace } from './trace.ts';
import { tidy } from './tree.ts';
import { primal, type Value } from './value.ts';
import { entriesOf, isLinear, materialise, type Params } from './weights.ts';

/** Variables whose values are no longer the ones they were drawn with: loaded, or prepared. */
export const settled = new WeakSet<tf.Variable>();

/** A frozen model: its points, and a forward pass that asks the step to compute. */
export interface Model<I> {
  readonly name: string; // of the architecture: 'lxmert'
  readonly scope: Scope;
  /** Samples in a batch of inputs. */
  batch(inputs: I): number;
  /** The task's output, usually logits [B, A]. */
  forward(inputs: I, step: Step): Value;
  /** Tokens through those blocks that the step's range holds. */
  encode?(inputs: I, step: Step): Streams;
  /** What the tokens of a batch are, by stream. Runs inside a tidy, from the arrays of the inputs alone. */
  tokens?(inputs: I): Readonly<Record<string, TokenMasks>>;
  /** A small model of this architecture that gives `outputs` numbers for the same inputs, [B, outputs]; `changes` go over the configuration it chooses. */
  build?(outputs: number, tensors: TensorSource, changes?: Readonly<Record<string, unknown>>): Model<I>;
}

/** What one training step gives. Everything in it is the caller's to dispose. */
export interface Learned {
  readonly loss: tf.Scalar; // task loss plus all auxiliary losses
  readonly losses: ReadonlyMap<string, tf.Tensor>; // 'task' and what plugins added
  readonly output: tf.Tensor;
  readonly gradients: ReadonlyMap<string, tf.Tensor>; // by variable name; a variable the loss does not reach is missing
  readonly observed: number; // sources and blocks computed outside the gradient
  dispose(): void;
}

export interface LearnOptions extends Omit<StepOptions, 'observe' | 'account'> {
  readonly prefix?: boolean; // default true: run what nothing trainable touches outside the gradient
}

export interface AdaptOptions {
  readonly seed?: number; // of initialisers; default 0
}

/** A model with plugins. The model itself is untouched; many adapted models may share it. */
export class Adapted<I> {
  readonly plan: Plan;
  readonly parameters: ReadonlyMap<string, ParameterPoint>;
  /** How plugins would have the variables of a parameter group moved. */
  readonly groups: ReadonlyMap<string, GroupDefaults>;
  private readonly owned: readonly tf.Tensor[];

  /** Use `adapt`. */
  constructor(
    readonly model: Model<I>,
    readonly plugins: readonly Plugin[],
    readonly seed: number,
    shared: ReadonlyMap<string, ParameterPoint> = new Map(),
  ) {
    const parameters = new Map<string, ParameterPoint>();
    const groups = new Map<string, GroupDefaults>();
    const attached: Attached[] = [];
    const ids = { next: model.scope.size };
    const constants: tf.Tensor[] = [];
    const own = (): tf.Tensor[] => [...constants, ...[...parameters.values()].flatMap((p) => (shared.has(p.path) ? [] : [p.variable]))];
    try {
      for (const plugin of plugins) {
        if (attached.some((a) => a.instance === plugin.instance))
          throw new EspalierError(`two plugins are called '${plugin.instance}': name one with { as: '...' }`);
        const host = hostOf(plugin, model, seed, ids, parameters, shared, groups, attached.slice(), constants);
        const hooks = plugin.attach(host);
        attached.push({ instance: plugin.instance, trainable: plugin.trainable, hooks, parameters: host.parameters(plugin.instance), dropout: plugin.dropout ?? true });
      }
      requireFrozenBase(plugins, attached);
      this.plan = new Plan(attached);
    } catch (e) {
      tf.dispose(own());
      throw e;
    }
    this.parameters = parameters;
    this.groups = groups;
    this.owned = own();
  }

  /** The variables an optimiser may move: those of trainable plugins that are not in group 'frozen'. */
  get trainable(): readonly ParameterPoint[] {
    const on = new Set(this.plugins.filter((p) => p.trainable).map((p) => p.instance));
    return [...this.parameters.values()].filter((p) => on.has(p.instance) && p.group !== FROZEN);
  }

  /** SHA-256 of the frozen arrays this was adapted from. */
  fingerprint(): Promise<string> {
    return fingerprint(this.model.scope);
  }

  /**
   * Lets trainable plugins set first values that depend on data, from inputs of the training split, which `batches` gives
   * anew to each. Once, before training: `fit` calls it; variables that were loaded or prepared stay as they are.
   */
  async prepare(batches: () => AsyncIterable<I>): Promise<void> {
    for (const plugin of this.plugins) {
      const own = this.trainable.filter((p) => p.instance === plugin.instance);
      if (!plugin.prepare || !own.length || own.some((p) => settled.has(p.variable))) continue;
      await plugin.prepare(this, batches());
      for (const p of own) settled.add(p.variable);
    }
  }

  /** One forward pass; the output is the caller's to dispose. */
  forward(inputs: I, options: StepOptions = {}): Promise<tf.Tensor> {
    if (options.trace) return this.forwardOnce(inputs, options);
    return withGroups(this.plan, () => this.forwardOnce(inputs, options));
  }

  private async forwardOnce(inputs: I, options: StepOptions): Promise<tf.Tensor> {
    const step = await this.start(inputs, options);
    try {
      return tidy(() => evaluate(traced(options.trace, () => this.model.forward(inputs, step))).clone());
    } finally {
      finish(step);
    }
  }

  /**
   * The primal results of a forward pass, derivative parts left out. Passes over the same batch that are given it compute
   * derivative parts alone, whatever the tangents are. The caller disposes it.
   */
  async trace(inputs: I, options: Omit<StepOptions, 'trace'> = {}): Promise<PrimalTrace> {
    const step = await this.start(inputs, options);
    try {
      const held: { trace?: PrimalTrace } = {};
      tf.tidy(() => {
        held.trace = recordPrimal(() => this.model.forward(inputs, step)).trace;
      });
      return held.trace!;
    } finally {
      finish(step);
    }
  }

  /**
   * One training step's gradients, in phases: decide (`begin` hooks, which may wait), observe (what nothing trainable
   * touches, outside the gradient), learn, then the backward pass of the decisions.
   * `loss` turns the output into a scalar.
   */
  async learn(inputs: I, loss: (output: tf.Tensor, step: Step) => tf.Scalar, options: LearnOptions = {}): Promise<Learned> {
    this.requireTrainable();
    if (options.trace) return this.learnOnce(inputs, loss, { ...options, recompute: false });
    return withGroups(this.plan, () => this.learnOnce(inputs, loss, options));
  }

  private async learnOnce(inputs: I, loss: (output: tf.Tensor, step: Step) => tf.Scalar, options: LearnOptions): Promise<Learned> {
    const step = await this.start(inputs, { training: true, ...options });
    try {
      const { trainable } = this;
      const leaves = [...step.shared.leaves.values()];
      const found = differentiate(step, {
        forward: () => traced(options.trace, () => this.model.forward(inputs, step)), loss: (output) => loss(output, step), variables: trainable.map((p) => p.variable), leaves,
        prefix: options.prefix !== false && !options.trace, rows: false,
      });
      const { output, losses, observed } = found;
      const all = new Map(trainable.flatMap((p, i) => (found.gradients[i] ? [[p.path, found.gradients[i]] as const] : [])));
      addDecisions(all, leaves, found.leafGradients, found.task);
      const gradients = new Map([...all].map(([path, g]) => [path, denseGradient(g)]));
      const dispose = () => tf.dispose([found.loss, output, ...losses.values(), ...gradients.values()]);
      return { loss: found.loss, losses, output, gradients, observed, dispose };
    } finally {
      finish(step);
    }
  }

  /**
   * Learns from batch after batch as `learn` does. Where the backend in force records operations, the step is recorded once
   * per shape of the batch and replayed; what differs from batch to batch enters by arguments, variables and feeds.
   */
  learner<T>(options: LearnerOptions<T>): Learner<I, T> {
    this.requireTrainable();
    return learnerOf(this, options);
  }

  /** Multiply-adds per sample of one forward pass, counted from the products that ran, by block and plugin. */
  async account(inputs: I, options: StepOptions = {}): Promise<CostRow[]> {
    return Account.of(this.model.batch(inputs), async (account) => {
      tf.dispose(await this.forward(inputs, { ...options, account }));
    });
  }

  /** The same model with plugin instances taken off; the others keep their variables. @throws when a name is unknown. */
  without(...instances: readonly string[]): Adapted<I> {
    const names = this.plugins.map((p) => p.instance);
    for (const name of instances)
      if (!names.includes(name)) throw new EspalierError(`no plugin '${name}' here.${didYouMean(name, names)} There are ${names.join(', ') || 'none'}.`);
    return new Adapted(this.model, this.plugins.filter((p) => !instances.includes(p.instance)), this.seed, this.parameters);
  }

  /**
   * The arrays of a plain model that computes the same: every place's parameters with all weight hooks folded in, by
   * tensor path. The caller disposes them. @throws RefusedError naming the plugin and place that is not a weight.
   */
  async merge(): Promise<ReadonlyMap<string, tf.Tensor>> {
    const linear = this.plugins.find((p) => p.linearises);
    if (linear) throw new RefusedError(`'${linear.instance}' cannot be merged: it is linearised, f(w + d) is not f(w) + J d. Take it off with without('${linear.instance}') first.`);
    for (const h of this.plan.hooks)
      if (h.kind !== 'weight') throw new RefusedError(`'${h.instance}' cannot be merged: it acts on ${h.kind} '${h.at.path}', which is not a weight: what it does there depends on the input. Take it off with without('${h.instance}') first.`);
    for (const { instance } of this.plan.begins) throw new RefusedError(`'${instance}' cannot be merged: it decides anew in every step.`);
    const step = startStep(this.plan, undefined, 0);
    try {
      return new Map(tidy(() => weightsOf(this.model.scope).flatMap((at) => mergedAt(at, step))));
    } finally {
      finish(step);
    }
  }

  /** The plan in words. */
  explain(): string {
    return this.plan.explain();
  }

  /** Disposes the variables and constants that this adapted model created; those it shares with another stay. */
  dispose(): void {
    tf.dispose([...this.owned]);
  }

  private requireTrainable(): void {
    if (!this.trainable.length) throw new EspalierError('nothing to train: no plugin here has trainable variables. Add one, such as lora() or tune({ preset: \'head\' }).');
  }

  /** Starts a step and lets plugins decide; `finish` ends it. */
  async start(inputs: I, options: StepOptions): Promise<Step> {
    const step = startStep(this.plan, inputs, this.model.batch(inputs), options);
    try {
      for (const { instance, hook } of this.plan.begins) {
        const done = step.by(instance, () => hook.apply(step));
        if (done) await done;
      }
    } catch (e) {
      finish(step);
      throw e;
    }
    return step;
  }
}

const traced = (trace: PrimalTrace | undefined, f: () => Value): Value => (trace ? replayPrimal(trace, f) : f());

/** What is linearised stays where it is. */
function requireFrozenBase(plugins: readonly Plugin[], attached: readonly Attached[]): void {
  const linear = plugins.find((p) => p.linearises);
  const moving = linear && plugins.find((p, i) => p.trainable && !p.linearises && attached[i]!.parameters.some((v) => v.group !== FROZEN));
  if (moving)
    throw new ConflictError(`'${linear.instance}' linearises the model about what stands beside it, and '${moving.instance}' is trainable there. Freeze it: ${moving.name}({ ... }, { trainable: false }), or drop one.`);
}

/** Puts plugins on a model, in order. @throws ConflictError, SelectionError. */
export const adapt = <I>(model: Model<I>, plugins: readonly Plugin[], { seed = 0 }: AdaptOptions = {}): Adapted<I> => new Adapted(model, plugins, seed);

function mergedAt(at: ModelWeight, step: Step): [string, tf.Tensor][] {
  const params = step.weight<Params>(at);
  return entriesOf(isLinear(params) ? materialise(params) : params).map(([part, x]) => {
    const who = step.table.weights[at.id]?.map((h) => `'${h.instance}'`).join(' and ');
    if (primal(x) !== x) throw new RefusedError(`${who} cannot be merged: '${at.path}' is linearised, f(w + d) is not f(w) + J d, so it cannot be merged into plain weights.`);
    return [`${at.path}.${part}`, primal(x).clone()];
  });
}
