import * as tf from '@tensorflow/tfjs';
import type { Adapted } from './adapt.ts';
import type { ActivationStore, CacheStatistics } from './cache.ts';
import { prefixCache } from './cached-prefix.ts';
import { addDecisions, differentiate } from './differentiate.ts';
import { graphBackend, type CapturedStep } from './engine.ts';
import { gradientTensors, isRowGradient, squaredNormOf, type Gradient } from './gradient.ts';
import type { Feeder, StepKey } from './feed.ts';
import { withGroups } from './samples.ts';
import type { Leaf } from './shared.ts';
import type { Prefix } from './prefix.ts';
import { saltOf } from './salt.ts';
import { finish, startStep, type Step } from './step.ts';
import { tensorsIn } from './tree.ts';

export interface LearnerOptions<T> {
  /** Of the output and the targets of a batch: a scalar. */
  readonly loss: (output: tf.Tensor, targets: T, step: Step) => tf.Scalar;
  /** A further scalar to report, such as the accuracy. */
  readonly score?: ((output: tf.Tensor, targets: T) => tf.Scalar) | undefined;
  readonly recompute?: boolean; // default false
  readonly prefix?: boolean; // default true: run what nothing trainable touches outside the gradient
  /** Default true: where the backend can record a step, record it once per shape of the batch and replay it. */
  readonly capture?: boolean;
  /** Keeps what nothing trainable touches from step to step. Default none: it is computed in every step. */
  readonly cache?: ActivationStore | undefined;
}

/** What one batch taught. */
export interface Lesson {
  /** What `scalars` holds: 'loss', 'losses.task' and others, 'score', and 'squaredNorm' of all gradients where no decision adds to them. */
  readonly names: readonly string[];
  readonly scalars: tf.Tensor1D;
  /** By variable; one that the loss does not reach is missing. That of an embedding table is the rows that were read. */
  readonly gradients: ReadonlyMap<string, Gradient>;
  dispose(): void;
}

/** Learns from batch after batch: the same numbers as `Adapted.learn`, in a form that can be recorded and replayed. */
export interface Learner<I, T> {
  learn(inputs: I, targets: T, key: StepKey): Promise<Lesson>;
  /** How the last batch was computed: 'traced' where the backend records nothing. */
  readonly last: 'recorded' | 'replayed' | 'refused' | 'traced' | undefined;
  /** Whether steps are recorded and replayed: the backend in force can, and nothing stood in the way so far. */
  readonly captures: boolean;
  /** Why the step cannot be replayed, where it cannot. */
  readonly refused: string | undefined;
  /** What the cache did, where there is one. */
  readonly cached: CacheStatistics | undefined;
  dispose(): void;
}

/** What the results of a recorded step are, in their order. */
interface Layout {
  readonly names: readonly string[];
  readonly paths: readonly (readonly [path: string, rowsOf: readonly number[] | undefined])[]; // variables that have a gradient; the table's shape where it is rows
  readonly leaves: readonly boolean[]; // which decisions have one
}

export function learnerOf<I, T>(adapted: Adapted<I>, { loss, score, recompute = false, prefix = true, capture = true, cache }: LearnerOptions<T>): Learner<I, T> {
  const layouts = new Map<string, Layout>();
  const options = { training: true, recompute };
  let refused: string | undefined;
  let last: Learner<I, T>['last'];
  // What the recorded step reads while it is traced; a replay only calls its feeds, which read the key.
  let now: { inputs: I; targets: T; key: StepKey; step: Step | undefined; given: Prefix | undefined; signature: string } | undefined;
  const kept = cache && prefix ? prefixCache(cache, () => saltOf(adapted)) : undefined;
  let recorder: { backend: object; step: CapturedStep } | undefined;

  const trace = (): tf.Tensor[] => {
    const { inputs, targets, key, step: begun, given, signature } = now!;
    const feed: Feeder | undefined = recorder && ((name, make) => recorder!.step.feed(name, () => make(now!.key)));
    const step = begun?.fork({ feed }) ?? startStep(adapted.plan, inputs, adapted.model.batch(inputs), { ...options, ...key, feed });
    try {
      const leaves = [...step.shared.leaves.values()];
      const trainable = adapted.trainable;
      const d = differentiate(step, {
        forward: () => adapted.model.forward(inputs, step), loss: (output) => loss(output, targets, step), variables: trainable.map((p) => p.variable), leaves,
        prefix, given, rows: true,
      });
      const scalars = new Map<string, tf.Tensor>([['loss', d.loss], ...[...d.losses].map(([name, x]) => [`losses.${name}`, x] as const)]);
      if (score) scalars.set('score', score(d.output, targets));
      const gradients = trainable.flatMap((p, i) => (d.gradients[i] ? [[p.path, d.gradients[i]] as const] : []));
      if (!leaves.length) scalars.set('squaredNorm', gradients.length ? tf.addN(gradients.map(([, g]) => squaredNormOf(g))) : tf.scalar(0));
      layouts.set(signature, { names: [...scalars.keys()], paths: gradients.map(([path, g]) => [path, isRowGradient(g) ? g.shape : undefined]), leaves: leaves.map((_, i) => d.leafGradients[i] !== undefined) });
      const row = tf.concat([...scalars.values()].map((x) => tf.reshape(x, [1])));
      tf.dispose([d.output, ...scalars.values()]);
      return [row, ...gradients.flatMap(([, g]) => gradientTensors(g)), ...d.leafGradients.flatMap((g) => (g ? [g] : []))];
    } finally {
      if (!begun) finish(step);
    }
  };

  /** The recorder of the backend in force, where it has one. */
  const recording = (): CapturedStep | undefined => {
    const backend = capture ? graphBackend() : undefined;
    if (!backend) return undefined;
    if (recorder?.backend !== backend) {
      recorder?.step.dispose();
      recorder = { backend, step: backend.capture(trace, { onRefused: (e) => (refused ??= e.message) }) };
    }
    return recorder.step;
  };

  return {
    learn: (inputs, targets, key) => withGroups(adapted.plan, async () => {
      // Decisions are made before the recorded part: what they leave in slots enters it as arguments.
      const step = adapted.plan.begins.length || kept ? await adapted.start(inputs, { ...options, ...key }) : undefined;
      try {
        const given = step && (await kept?.prefix(step, () => adapted.model.forward(inputs, step)));
        const slots = step ? [...step.shared.slots].map(([slot, value]) => [slot.name, value]) : [];
        const varying = { inputs, targets, slots, given: given && arraysOf(given) };
        const signature = signatureOf(varying);
        now = { inputs, targets, key, step, given, signature };
        const recorded = recording();
        const results = recorded ? recorded.call(tensorsIn(varying), signature) : tf.tidy(trace);
        last = recorded?.last ?? 'traced';
        const leaves: Leaf[] = step ? [...step.shared.leaves.values()] : [];
        return lessonOf(results, layouts.get(signature)!, leaves);
      } finally {
        now = undefined;
        if (step) finish(step);
      }
    }),
    get last() {
      return last;
    },
    get cached() {
      return kept?.statistics;
    },
    get captures() {
      return capture && refused === undefined && graphBackend() !== undefined;
    },
    get refused() {
      return refused;
    },
    dispose: () => recorder?.step.dispose(),
  };
}

function lessonOf(results: readonly tf.Tensor[], { names, paths, leaves: reached }: Layout, leaves: readonly Leaf[]): Lesson {
  const rest = results.values();
  const next = (): tf.Tensor => rest.next().value!; // as many as the layout says
  const scalars = next() as tf.Tensor1D; // one number per name
  const gradients = new Map<string, Gradient>();
  for (const [path, shape] of paths) gradients.set(path, shape ? { index: next() as tf.Tensor1D, rows: next() as tf.Tensor2D, shape } : next());
  const task = tf.tidy((): tf.Scalar => tf.reshape(tf.slice(scalars, names.indexOf('losses.task'), 1), []));
  addDecisions(gradients, leaves, reached.map((has) => (has ? next() : undefined)), task);
  task.dispose();
  return { names, scalars, gradients, dispose: () => tf.dispose([scalars, ...[...gradients.values()].flatMap(gradientTensors)]) };
}

/** The arrays of a prefix that the learning phase reads. */
const arraysOf = (prefix: Prefix): tf.Tensor[] => [...new Set([...prefix.sources.values(), ...[...prefix.blocks.values()].map((b) => b.outputs)].flatMap((s) => tensorsIn(s)))];

/** Everything about a tree but the values of its arrays: its keys, shapes, types, and what is no array. */
const signatureOf = (tree: unknown): string =>
  JSON.stringify(tree, (_, x: unknown) => {
    if (x instanceof tf.Tensor) return `${x.dtype}[${x.shape.join()}]`;
    return x === undefined ? null : ArrayBuffer.isView(x) ? Array.from(x as Uint8Array) : x; // a view's numbers count, like a list's
  });
