import * as tf from '@tensorflow/tfjs';
import { EspalierError } from './errors.ts';
import type { Plan } from './plan.ts';

/*
 * A backend that records a step as a graph would compile another one for every number of rows. Where it has kernels for it,
 * some samples of a batch are a group whose size only the graph knows: arrays keep the shape of the whole batch and hold
 * fewer rows. Taking, joining and their gradients are the kernels below; everything between must work row by row.
 */

/** Some samples of a batch. */
export interface RowGroup {
  readonly index: tf.Tensor1D; // int32 [B]; the first `count` are the samples, the others mean nothing
  readonly count: tf.Tensor1D; // int32 [1], at least 1
}

/** Rows of a batch: a list, or a group that only the graph knows. */
export type Rows = readonly number[] | RowGroup;

export const isGroup = (rows: Rows | undefined): rows is RowGroup => rows !== undefined && 'index' in rows;

/** Samples went different ways through a place whose computation mixes them. The step is then run with lists of rows. */
export class RaggedError extends EspalierError {
  override readonly name: string = 'RaggedError';
}

/** Whether the backend in force can send groups through a step. */
export const hasGroups = (): boolean => tf.getKernel('TakeSamples', tf.getBackend()) !== undefined;

/** Runs f; where a group met what mixes samples, once more with lists of rows, from then on for every step of the plan. */
export async function withGroups<T>(plan: Plan, f: () => Promise<T>): Promise<T> {
  try {
    return await f();
  } catch (e) {
    // The backend's error and core's have a name in common and no class.
    if (!(e instanceof Error) || e.name !== 'RaggedError' || plan.mixes !== undefined) throw e;
    plan.mixes = e.message;
    return f();
  }
}

/** The samples of a group: [B, ..] -> [count, ..]. */
export function takeGroup(x: tf.Tensor, { index, count }: RowGroup): tf.Tensor {
  if (x.dtype !== 'float32') return run('TakeSamples', { x, index, count });
  const op = tf.customGrad((...args) => {
    const [t, save] = args as [tf.Tensor, tf.GradSaveFunc];
    save([index, count]);
    return { value: run('TakeSamples', { x: t, index, count }), gradFunc: (y: tf.Tensor, [i, n]: tf.Tensor[]) => run('PutSamples', { y, index: i!, count: n! }) };
  });
  return op(x);
}

/** Samples of several groups one after another, then in `order`: sample b is entry order[b] of that list. [count, ..] each -> [B, ..]. */
export function joinGroups(parts: readonly tf.Tensor[], order: tf.Tensor1D): tf.Tensor {
  const named = (xs: readonly tf.Tensor[]) => Object.fromEntries(xs.map((x, i) => [`part${i}`, x]));
  const op = tf.customGrad((...args) => {
    const save = args.at(-1) as tf.GradSaveFunc;
    const xs = args.slice(0, -1) as tf.Tensor[];
    save([order, ...xs]);
    return {
      value: run('JoinSamples', { order, ...named(xs) }),
      gradFunc: (dy: tf.Tensor, [at, ...saved]: tf.Tensor[]) => saved.map((_, part) => run('PartOfSamples', { dy, order: at!, ...named(saved) }, { part })),
    };
  });
  return op(...parts);
}

const run = (kernel: string, inputs: tf.NamedTensorMap, attributes: tf.NamedAttrMap = {}): tf.Tensor => tf.engine().runKernel<tf.Tensor>(kernel, inputs, attributes);
