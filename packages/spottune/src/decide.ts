import * as tf from '@tensorflow/tfjs';
import { begin, graphBackend, random, tidy, type Hook, type ParameterPoint, type Step } from '@espalier/core';
import type { Choice, Drawn } from './choice.ts';
import type { Policy } from './policy.ts';
import type { Decided } from './routing.ts';
import type { Settings } from './settings.ts';
import { sort } from './sorted.ts';
import { temperatureAt } from './temperature.ts';
import type { Unit } from './units.ts';

/** What a decision is made with. */
export interface Deciding {
  readonly settings: Settings;
  readonly instance: string;
  readonly units: readonly Unit[];
  readonly gates: number; // D
  readonly choice: Choice;
  readonly decided: Decided;
  readonly policy: Policy | undefined; // none: at random
  readonly baseline: ParameterPoint | undefined; // of the score function estimate
}

/**
 * Phase decide: a policy's logits, with Gumbel noise keyed by (seed, step, sample, gate) while training and none in
 * prediction unless evaluation is 'sample', become gates. The numbers are read to the host once.
 */
export const decide = (how: Deciding): Hook =>
  begin(async (step) => {
    const { settings, units, gates, decided, policy } = how;
    const logits = policy?.prepare(step);
    const drawn = step.keep(tidy(() => draw(step, how, logits)));
    const open = drawn.open(await drawn.score.data<'float32'>());
    await vote(step, how, logits, open);
    const { executor, counterfactual } = settings;
    if (executor !== 'dense' && step.training && step.groups) step.set(decided.sorted, tidy(() => sort(step, open, units, gates, counterfactual, decided.gates.name)));
    // In lists every new split of a batch is another graph where steps are recorded.
    else if (executor === 'grouped' || (executor === 'auto' && !(step.training && graphBackend() !== undefined))) step.set(decided.chosen, open);
    const gate = step.keep(tf.tidy(() => tf.tensor2d(Float32Array.from(open), [open.length / gates, gates])));
    const value = step.keep(tf.tidy(() => tf.concat([gate, drawn.probability], 1)));
    if (!step.training || !policy || !logits || !trains(step, how.instance)) return step.set(decided.gates, value);
    const { estimator } = settings;
    const temperature = temperatureAt(settings.temperature, step.shared.step);
    const towards = (dz: tf.Tensor) => backward(policy, logits, dz);
    step.decide(decided.gates, {
      value,
      backward: (dy) => {
        const [dGate, dProbability] = tf.split(dy, 2, 1);
        return towards(drawn.gradient(gate, dGate!, dProbability!, { estimator, temperature }));
      },
      ...(estimator === 'score' && { score: (task: tf.Scalar) => scored(task, drawn.likelihood(gate), how, towards) }),
    });
  });

/** With evaluation by majority, leaves open in prediction what is open in more than half of the draws, of which `open` is the first. */
async function vote(step: Step, how: Deciding, logits: (() => tf.Tensor) | undefined, open: Uint8Array): Promise<void> {
  const draws = step.training ? 1 : votesOf(how.settings);
  const votes = Uint32Array.from(open);
  for (let k = 1; k < draws; k++) {
    const drawn = tidy(() => draw(step, how, logits, k));
    drawn.open(await drawn.score.data<'float32'>()).forEach((bit, i) => (votes[i]! += bit));
    tf.dispose([...drawn.arrays, drawn.score, drawn.probability]);
  }
  votes.forEach((n, i) => (open[i] = 2 * n > draws ? 1 : 0));
}

/** How many draws decide in prediction. */
export const votesOf = ({ evaluation }: Pick<Settings, 'evaluation'>): number => (typeof evaluation === 'object' ? evaluation.majority : 1);

/** Where the numbers of draw k come from. */
export const drawPath = (instance: string, k: number): string => (k === 0 ? `${instance}/gates` : `${instance}/gates draw ${k}`);

function draw(step: Step, { settings, instance, policy, choice }: Deciding, logits: (() => tf.Tensor) | undefined, k = 0): Drawn {
  const shape: [number, number] = [step.shared.batch, choice.outputs];
  const { policy: options, evaluation } = settings;
  const free = options.kind === 'random' ? options.rate : 0.5;
  const z = tf.broadcastTo(logits ? logits() : tf.tensor2d(choice.start(free), [1, choice.outputs]), shape).clone();
  if (!step.training && evaluation === 'argmax') return choice.draw(z, tf.zeros(shape));
  const path = drawPath(instance, k);
  // What is the same for all samples is drawn once for all.
  const noise = policy && options.kind === 'global' ? tf.broadcastTo(commonNoise(step, path, choice.outputs), shape).clone() : step.noise(path, [choice.outputs], 'gumbel');
  return choice.draw(z, noise);
}

/** Gumbel numbers -log(-log u) that are the same for all samples of a step: [count]. */
export const commonNoise = (step: Step, path: string, count: number): tf.Tensor =>
  step.feed(`common noise ${path}`, (key) => {
    const generator = random(key.seed, key.step, 'all samples', path);
    const gumbel = () => -Math.log(-Math.log(Math.min(Math.max(generator.uniform(), 2 ** -25), 1 - 2 ** -25)));
    return tf.tensor1d(Float32Array.from({ length: count }, gumbel));
  });

/** Whether the plugin is one that is trained; of a frozen one nobody asks for gradients. */
const trains = (step: Step, instance: string): boolean => step.shared.plan.of(instance).some((h) => h.trainable);

/** The gradients of a policy's variables from those of its logits, [B, outputs]. */
function backward(policy: Policy, logits: () => tf.Tensor, dz: tf.Tensor): Record<string, tf.Tensor> {
  const { parameters } = policy;
  const variables = parameters.map((p) => p.variable);
  const dy = policy.common ? tf.sum(dz, 0, true) : dz;
  const { grads } = tf.engine().gradients(logits, variables, dy, true);
  return Object.fromEntries((grads as readonly (tf.Tensor | null)[]).flatMap((g, i) => (g ? [[parameters[i]!.path, g]] : [])));
}

/**
 * dE[L]/dz estimated by (L - b) dlog P(a)/dz (REINFORCE), for a batch whose loss L is the mean over samples. The baseline b is a
 * variable that follows L: its gradient is that of (b - L)^2 / 2.
 */
function scored(task: tf.Scalar, likelihood: tf.Tensor, { baseline }: Deciding, towards: (dz: tf.Tensor) => Record<string, tf.Tensor>): Record<string, tf.Tensor> {
  const b = baseline!;
  const gain = tf.sub(task, b.variable); // [1]
  return { ...towards(tf.mul(likelihood, gain)), [b.path]: tf.neg(gain) };
}
