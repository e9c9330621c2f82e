import * as tf from '@tensorflow/tfjs';
import { addGradients, gradientTensors, type Gradient, type RowGradient } from './gradient.ts';
import { evaluate } from './ops.ts';
import { observe, type Prefix } from './prefix.ts';
import type { Leaf } from './shared.ts';
import type { Step } from './step.ts';
import type { Value } from './value.ts';

/** What the observing and learning phases of a step give; the arrays are the caller's to dispose. */
export interface Differentiated {
  readonly loss: tf.Scalar; // the task's and all auxiliary losses
  readonly task: tf.Scalar; // the same array as losses.get('task')
  readonly losses: ReadonlyMap<string, tf.Tensor>; // 'task' and what plugins added
  readonly output: tf.Tensor;
  readonly gradients: readonly (Gradient | undefined)[]; // of the variables, in their order; undefined where the loss does not reach
  readonly leafGradients: readonly (tf.Tensor | undefined)[]; // of the decisions
  readonly observed: number; // sources and blocks computed outside the gradient
}

export interface Differentiation {
  readonly forward: () => Value;
  readonly loss: (output: tf.Tensor) => tf.Scalar;
  readonly variables: readonly tf.Variable[];
  readonly leaves: readonly Leaf[];
  readonly prefix: boolean; // run what nothing trainable touches outside the gradient
  readonly given?: Prefix | undefined; // what of it is known already
  readonly rows: boolean; // gradients of tables as the rows that were read
}

/** Phases observe and learn: what nothing trainable touches runs off the tape, then loss and gradients. */
export function differentiate(step: Step, { forward, loss, variables, leaves, prefix, given, rows }: Differentiation): Differentiated {
  if (given) step.shared.prefix = given;
  const observed = given?.size ?? (prefix ? observe(step, forward).size : 0);
  // tfjs looks at this list after the forward pass, which may add to it: what rows of a table were read is known only then.
  const sources: tf.Tensor[] = [...variables, ...leaves.map((l) => l.value)];
  const read: { readonly table: tf.Variable; readonly index: tf.Tensor1D }[] = [];
  const own = new Set<tf.Tensor>(variables);
  step.shared.tables = !rows ? undefined : {
    read: (table, index) => {
      if (!own.has(table)) return undefined;
      const leaf = tf.keep(tf.zeros([index.shape[0], table.shape[1]!]));
      sources.push(leaf);
      read.push({ table, index: tf.keep(tf.add(index, tf.scalar(0, 'int32'))) }); // a new array: the caller's own may be gone by then
      return leaf;
    },
  };
  const held: { output?: tf.Tensor; task?: tf.Scalar; losses: Map<string, tf.Tensor> } = { losses: new Map() };
  const { value, grads } = tf.engine().gradients(
    () => {
      const output = evaluate(forward());
      held.output = tf.keep(output.clone());
      const task = loss(output);
      held.task = tf.keep(task.clone());
      held.losses.set('task', held.task);
      for (const [name, x] of step.shared.losses) held.losses.set(name, tf.keep(x.clone()));
      return [...step.shared.losses.values()].reduce<tf.Scalar>((total, x) => tf.add(total, tf.reshape(x, [])), task);
    },
    sources,
    undefined,
    true,
  );
  // tfjs types every gradient as present; with allowNoGradients one that nothing reaches is missing.
  const found = (grads as readonly (tf.Tensor | null | undefined)[]).map((g) => g ?? undefined);
  const [n, m] = [variables.length, leaves.length];
  step.shared.tables = undefined;
  tf.dispose(sources.slice(n + m));
  const gradients: (Gradient | undefined)[] = found.slice(0, n);
  read.forEach(({ table, index }, i) => {
    const rows = found[n + m + i];
    if (!rows) return index.dispose();
    const at = variables.indexOf(table);
    const before = gradients[at];
    const one: RowGradient = { index, rows: rows as tf.Tensor2D, shape: table.shape }; // as its leaf was
    gradients[at] = before ? addGradients(before, one) : one;
    if (before) tf.dispose([...gradientTensors(before), ...gradientTensors(one)]);
  });
  return { loss: value, task: held.task!, losses: held.losses, output: held.output!, gradients, leafGradients: found.slice(n, n + m), observed };
}

/** Adds the gradients that decisions hand to the variables behind them; takes over all it is given but the task's loss. */
export function addDecisions(gradients: Map<string, Gradient>, leaves: readonly Leaf[], leafGradients: readonly (tf.Tensor | undefined)[], task: tf.Scalar): void {
  const add = (found: Readonly<Record<string, tf.Tensor>>) => {
    for (const [name, g] of Object.entries(found)) {
      const before = gradients.get(name);
      gradients.set(name, before ? addGradients(before, g) : g);
      if (before) tf.dispose([...gradientTensors(before), g]);
    }
  };
  leaves.forEach((leaf, i) => {
    const dy = leafGradients[i];
    if (dy) add(tf.tidy(() => leaf.backward(dy)));
    dy?.dispose();
    const { score } = leaf;
    if (score) add(tf.tidy(() => score(task)));
  });
}
