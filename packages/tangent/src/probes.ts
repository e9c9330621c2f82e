import * as tf from '@tensorflow/tfjs';
import {
  Adapted, dual, EspalierError, evaluate, finish, primal, tangentOf, tensorsIn, value, weight,
  type Hook, type LinearSite, type NormPoint, type Plugin, type SitePoint, type StepKey,
} from '@espalier/core';
import { tangentsOf } from './component.ts';

/** One use of a linear: what it read, and the gradient of the summed loss towards its output. [B, T, in], [B, T, out]. */
export interface Use {
  readonly input: tf.Tensor;
  readonly cotangent: tf.Tensor;
}

/** What one backward pass tells of every sample. The caller disposes it. */
export interface Cotangents {
  readonly uses: ReadonlyMap<string, readonly Use[]>; // of a linear by its path: as many as there were, with shared weights
  readonly norms: ReadonlyMap<string, { readonly gamma: tf.Tensor; readonly beta: tf.Tensor }>; // gradients of every sample, [B, D]
  readonly loss: tf.Scalar; // mean over the batch
  readonly output: tf.Tensor;
  dispose(): void;
}

/** Records what gradients of single samples are made of, in one pass of the model with its tangents. */
export interface Prober<I> {
  run<T>(inputs: I, targets: T, loss: (output: tf.Tensor, targets: T) => tf.Scalar, key: StepKey): Promise<Cotangents>;
  dispose(): void;
}

interface Recording {
  readonly sources: tf.Tensor[];
  readonly uses: Map<string, { input: tf.Tensor; probe: tf.Tensor }[]>;
  readonly norms: Map<string, { gamma: tf.Tensor; beta: tf.Tensor }>;
  readonly pending: Map<number, tf.Tensor>;
}

/** Whether everything that an instance linearises is a linear or a norm, so that one pass tells of all samples. */
export function canProbe<I>(adapted: Adapted<I>, instance: string): boolean {
  const { linear, norm } = adapted.model.scope.points;
  const known = new Set([...linear.flatMap((w) => [`${w.path}.kernel`, `${w.path}.bias`]), ...norm.flatMap((w) => [`${w.path}.gamma`, `${w.path}.beta`])]);
  return tangentsOf(adapted, instance).every((p) => known.has(p.path.slice(instance.length + 1)));
}

/**
 * Adds zeros to the derivative part of every linearised linear's output and to every sample's own copy of a norm's tangents:
 * the gradient towards those zeros is the cotangent there. Inputs are those that the linears really read, after other plugins.
 */
export function proberOf<I>(adapted: Adapted<I>, instance: string): Prober<I> {
  const linearised = new Set(tangentsOf(adapted, instance).map((p) => p.path.slice(instance.length + 1).replace(/\.(kernel|bias|gamma|beta)$/, '')));
  let now: Recording | undefined;
  const { points } = adapted.model.scope;
  const linears = points.site.filter((s): s is LinearSite => 'input' in s && s.of !== undefined && linearised.has(s.of.path));
  const probes: Plugin = {
    name: 'probes', instance: `${instance}/probes`, version: '0.1.0', options: {}, trainable: false, linearises: true,
    attach: () => [...linears.flatMap((use) => linearHooks(use, () => now)), ...points.norm.filter((w) => linearised.has(w.path)).map((w) => normHook(w, () => now))],
  };
  // The same variables under the same plugins, with one more that only watches.
  const probed = new Adapted(adapted.model, [...adapted.plugins, probes], adapted.seed, adapted.parameters);
  return {
    dispose: () => probed.dispose(),
    run: async (inputs, targets, loss, key) => {
      const batch = adapted.model.batch(inputs);
      const step = await probed.start(inputs, { ...key });
      // tfjs wants one source before it runs what finds the others.
      const recording: Recording = { sources: [tf.keep(tf.scalar(0))], uses: new Map(), norms: new Map(), pending: new Map() };
      now = recording;
      const held: { output?: tf.Tensor } = {};
      try {
        const { value: total, grads } = tf.engine().gradients(
          () => {
            const output = evaluate(probed.model.forward(inputs, step));
            if (output.shape[0] !== batch) throw new EspalierError(`private training: ${batch} samples give ${output.shape[0]} outputs; expected one for each`);
            held.output = tf.keep(output.clone());
            const others = [...step.shared.losses.keys()];
            if (others.length) throw new EspalierError(`private training: ${others.join(', ')} is added to the loss of a batch, and what it takes from single samples cannot be told apart. Leave out the plugin that adds it.`);
            return tf.mul<tf.Scalar>(loss(output, targets), batch);
          },
          recording.sources,
          undefined,
          true,
        );
        return cotangentsOf(recording, grads, total, batch, held.output!);
      } catch (e) {
        tf.dispose([...recording.sources, ...tensorsIn([...recording.uses.values()]), ...(held.output ? [held.output] : [])]);
        throw e;
      } finally {
        now = undefined;
        finish(step);
      }
    },
  };
}

function linearHooks(use: LinearSite, recording: () => Recording | undefined): Hook[] {
  const site: SitePoint = use;
  return [
    value(use.input, (x) => {
      recording()?.pending.set(use.input.id, primal(x));
      return x;
    }, { order: 'post' }),
    value(site, (y) => {
      const r = recording();
      if (!r) return y;
      const probe = tf.keep(tf.zeros(y.shape));
      r.sources.push(probe);
      const own = { input: tf.keep(r.pending.get(use.input.id)!.clone()), probe };
      r.uses.set(use.of.path, [...(r.uses.get(use.of.path) ?? []), own]);
      const t = tangentOf(y);
      return dual(primal(y), t ? tf.add(t, probe) : probe);
    }, { order: 'pre' }),
  ];
}

function normHook(at: NormPoint, recording: () => Recording | undefined): Hook {
  return weight(at, ({ gamma, beta }, step) => {
    const r = recording();
    if (!r) return { gamma, beta };
    // Those of the head stand on one vector a sample, others on tokens.
    const shape = at.role === 'head.norm' ? [step.samples.length, at.dim] : [step.samples.length, 1, at.dim];
    const own = (x: typeof gamma) => {
      const probe = tf.keep(tf.zeros(shape));
      r.sources.push(probe);
      const t = tangentOf(x);
      return { probe, x: dual(primal(x), t ? tf.add(t, probe) : probe) };
    };
    const [g, b] = [own(gamma), own(beta)];
    r.norms.set(at.path, { gamma: g.probe, beta: b.probe });
    return { gamma: g.x, beta: b.x };
  });
}

function cotangentsOf(r: Recording, grads: readonly (tf.Tensor | undefined | null)[], total: tf.Tensor, batch: number, output: tf.Tensor): Cotangents {
  const gradient = new Map(r.sources.map((s, i) => [s, grads[i] ?? tf.zerosLike(s)]));
  const uses = new Map([...r.uses].map(([path, all]) => [path, all.map(({ input, probe }) => use(input, gradient.get(probe)!, batch, path))]));
  const norms = new Map([...r.norms].map(([path, { gamma, beta }]) => {
    const flat = (x: tf.Tensor) => tf.reshape(gradient.get(x)!, [batch, x.shape.at(-1)!]);
    return [path, { gamma: flat(gamma), beta: flat(beta) }];
  }));
  const loss = tf.tidy((): tf.Scalar => tf.div(total, batch));
  const made = [...tensorsIn([...uses.values()]), ...tensorsIn([...norms.values()])];
  tf.dispose([total, ...r.sources, ...gradient.values(), ...tensorsIn([...r.uses.values()].flat().map((u) => u.input))]);
  return { uses, norms, loss, output, dispose: () => tf.dispose([...made, loss, output]) };
}

/** [B, in] as one token each; anything else must have a sample per row. */
function use(input: tf.Tensor, cotangent: tf.Tensor, batch: number, path: string): Use {
  if (input.shape[0] !== batch) throw new EspalierError(`private training: '${path}' reads [${input.shape.join(', ')}], of which the first axis is not the ${batch} samples`);
  const cube = (x: tf.Tensor) => tf.reshape(x, [batch, x.size / batch / x.shape.at(-1)!, x.shape.at(-1)!]);
  return { input: cube(input), cotangent: cube(cotangent) };
}

