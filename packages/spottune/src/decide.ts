import * as tf from '@tensorflow/tfjs';
import { begin, graphBackend, random, type Hook, type ParameterPoint, type Step } from '@espalier/core';
import { gateSlope, marginOf } from './estimators.ts';
import { logOdds, type Policy } from './policy.ts';
import type { Decided } from './routing.ts';
import type { Settings } from './settings.ts';
import { temperatureAt } from './temperature.ts';

/** What a decision is made with. */
export interface Deciding {
  readonly settings: Settings;
  readonly instance: string;
  readonly gates: number; // D
  readonly decided: Decided;
  readonly policy: Policy | undefined; // none: at random
  readonly baseline: ParameterPoint | undefined; // of the score function estimate
}

/**
 * Phase decide: a = 1 where m + g1 - g0 > 0, with m = z1 - z0 of the policy and Gumbel noise keyed by (seed, step, sample,
 * gate) while training, none in prediction unless evaluation is 'sample'. The numbers are read to the host once.
 */
export const decide = (how: Deciding): Hook =>
  begin(async (step) => {
    const { settings, gates, decided, policy } = how;
    const logits = policy?.prepare(step);
    const { margin, noise, score } = step.keep(tf.tidy(() => drawn(step, how, logits)));
    const scores = await score.data<'float32'>();
    const open = capacityOf(settings) === undefined ? Uint8Array.from(scores, (x) => (x > 0 ? 1 : 0)) : mostWanted(scores, gates, capacityOf(settings)!);
    const grouped = settings.executor === 'grouped' || (settings.executor === 'auto' && !(step.training && graphBackend() !== undefined));
    if (grouped) step.set(decided.chosen, open);
    const { value, gate, probability } = step.keep(
      tf.tidy(() => {
        const gate = tf.tensor2d(Float32Array.from(open), [open.length / gates, gates]);
        const probability = tf.sigmoid(margin);
        return { gate, probability, value: tf.concat([gate, probability], 1) };
      }),
    );
    if (!step.training || !policy || !logits || !trains(step, how.instance)) return step.set(decided.gates, value);
    const temperature = temperatureAt(settings.temperature, step.shared.step);
    const slope = step.keep(gateSlope(settings.estimator, { margin, noise, gate, temperature })); // [B, D]
    const towards = (dm: tf.Tensor) => backward(policy, logits, dm);
    step.decide(decided.gates, {
      value,
      backward: (dy) => {
        const [dGate, dProbability] = tf.split(dy, 2, 1);
        return towards(tf.add(tf.mul(dGate!, slope), tf.mul(dProbability!, tf.mul(probability, tf.sub(1, probability)))));
      },
      ...(settings.estimator === 'score' && { score: (task: tf.Scalar) => scored(task, gate, probability, how, towards) }),
    });
  });

/** Log-odds m, noise, and their sum, all [B, D]. */
function drawn(step: Step, { settings, gates, instance, policy }: Deciding, logits: (() => tf.Tensor) | undefined) {
  const batch = step.shared.batch;
  const { policy: options } = settings;
  const margin = logits ? marginOf(logits()) : tf.fill([1, gates], options.kind === 'random' ? logOdds(options.rate) : 0);
  const all = tf.broadcastTo(margin, [batch, gates]).clone();
  if (!step.training && settings.evaluation === 'argmax') return { margin: all, noise: tf.zeros([batch, gates]), score: all };
  const path = `${instance}/gates`;
  const each = step.noise(path, [gates, 2], 'gumbel'); // [B, D, 2]
  // What is the same for all samples is drawn once for all.
  const noise = policy && options.kind === 'global' ? tf.broadcastTo(commonNoise(step, path, gates), [batch, gates]).clone() : marginOf(each);
  return { margin: all, noise, score: tf.add(all, noise) };
}

/** The difference of two Gumbel numbers per gate, the same for all samples of a step: [D]. A difference of Gumbels is logistic. */
export const commonNoise = (step: Step, path: string, gates: number): tf.Tensor =>
  step.feed(`common noise ${path}`, (key) => {
    const generator = random(key.seed, key.step, 'all samples', path);
    const logistic = () => logOdds(Math.min(Math.max(generator.uniform(), 2 ** -25), 1 - 2 ** -25));
    return tf.tensor1d(Float32Array.from({ length: gates }, logistic));
  });

/** Whether the plugin is one that is trained; of a frozen one nobody asks for gradients. */
const trains = (step: Step, instance: string): boolean => step.shared.plan.of(instance).some((h) => h.trainable);

/** The gradients of a policy's variables from those of the log-odds m = z1 - z0, [B, D]. */
function backward({ parameters }: Policy, logits: () => tf.Tensor, dm: tf.Tensor): Record<string, tf.Tensor> {
  const variables = parameters.map((p) => p.variable);
  const shape = tf.tidy(logits).shape;
  const all = tf.stack([tf.neg(dm), dm], -1); // [B, D, 2]
  const dy = shape[0] === all.shape[0] ? all : tf.sum(all, 0, true);
  const { grads } = tf.engine().gradients(logits, variables, dy, true);
  return Object.fromEntries((grads as readonly (tf.Tensor | null)[]).flatMap((g, i) => (g ? [[parameters[i]!.path, g]] : [])));
}

/**
 * dE[L]/dm estimated by (L - b)(a - p) (REINFORCE), for a batch whose loss L is the mean over samples. The baseline b is a variable
 * that follows L: its gradient is that of (b - L)^2 / 2.
 */
function scored(task: tf.Scalar, gate: tf.Tensor, probability: tf.Tensor, { baseline }: Deciding, towards: (dm: tf.Tensor) => Record<string, tf.Tensor>): Record<string, tf.Tensor> {
  const b = baseline!;
  const gain = tf.sub(task, b.variable); // [1]
  return { ...towards(tf.mul(tf.sub(gate, probability), gain)), [b.path]: tf.neg(gain) };
}

const capacityOf = ({ budgets }: Settings): number | undefined => {
  const found = budgets.find((b) => b.kind === 'capacity');
  return found?.kind === 'capacity' ? found.share : undefined;
};

/** Of every gate the ceil(share B) samples with the highest score are open, the earlier ones of equals: [B D]. */
export function mostWanted(scores: Float32Array, gates: number, share: number): Uint8Array {
  const batch = scores.length / gates;
  const size = Math.ceil(share * batch);
  const open = new Uint8Array(scores.length);
  for (let g = 0; g < gates; g++) {
    const order = Array.from({ length: batch }, (_, b) => b).sort((x, y) => scores[y * gates + g]! - scores[x * gates + g]! || x - y);
    for (const b of order.slice(0, size)) open[b * gates + g] = 1;
  }
  return open;
}
