import * as tf from '@tensorflow/tfjs';
import { evaluate } from './ops.ts';
import { observe } from './prefix.ts';
import type { Leaf, Step } from './step.ts';
import type { Value } from './value.ts';

/** What the observing and learning phases of a step give; the arrays are the caller's to dispose. */
export interface Differentiated {
  readonly loss: tf.Scalar; // the task's and all auxiliary losses
  readonly losses: ReadonlyMap<string, tf.Tensor>; // 'task' and what plugins added
  readonly output: tf.Tensor;
  readonly gradients: readonly (tf.Tensor | undefined)[]; // of the variables, in their order; undefined where the loss does not reach
  readonly leafGradients: readonly (tf.Tensor | undefined)[]; // of the decisions
  readonly observed: number; // sources and blocks computed outside the gradient
}

/** Phases observe and learn: what nothing trainable touches runs off the tape, then loss and gradients. */
export function differentiate(
  step: Step,
  forward: () => Value,
  loss: (output: tf.Tensor) => tf.Scalar,
  variables: readonly tf.Variable[],
  leaves: readonly Leaf[],
  prefix: boolean,
): Differentiated {
  const observed = prefix ? observe(step, forward).size : 0;
  const held: { output?: tf.Tensor; losses: Map<string, tf.Tensor> } = { losses: new Map() };
  const { value, grads } = tf.engine().gradients(
    () => {
      const output = evaluate(forward());
      held.output = tf.keep(output.clone());
      const task = loss(output);
      held.losses.set('task', tf.keep(task.clone()));
      for (const [name, x] of step.shared.losses) held.losses.set(name, tf.keep(x.clone()));
      return [...step.shared.losses.values()].reduce<tf.Scalar>((total, x) => tf.add(total, tf.reshape(x, [])), task);
    },
    [...variables, ...leaves.map((l) => l.value)],
    undefined,
    true,
  );
  // tfjs types every gradient as present; with allowNoGradients one that nothing reaches is missing.
  const found = (grads as readonly (tf.Tensor | null | undefined)[]).map((g) => g ?? undefined);
  const n = variables.length;
  return { loss: value, losses: held.losses, output: held.output!, gradients: found.slice(0, n), leafGradients: found.slice(n), observed };
}

/** Adds the gradients that decisions hand to the variables behind them; takes what it is given over. */
export function addDecisions(gradients: Map<string, tf.Tensor>, leaves: readonly Leaf[], leafGradients: readonly (tf.Tensor | undefined)[]): void {
  leaves.forEach((leaf, i) => {
    const dy = leafGradients[i];
    if (!dy) return;
    for (const [name, g] of Object.entries(tf.tidy(() => leaf.backward(dy)))) {
      const before = gradients.get(name);
      gradients.set(name, before ? tf.add(before, g) : g);
      if (before) tf.dispose([before, g]);
    }
    dy.dispose();
  });
}
