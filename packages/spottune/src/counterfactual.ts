import * as tf from '@tensorflow/tfjs';
import { isGroup, joinRows, primal, takeRows, takeStreamRows, type Branch, type Partition, type Rows, type Stream, type Streams } from '@espalier/core';

export interface Counterfactual {
  readonly gate: tf.Tensor2D; // [R, 1]
  readonly partition: Partition; // rows that took `on`, rows that took `off`, and, if any, those of which nothing is evaluated
  readonly scale: number; // of what they give
  readonly on: Branch;
  readonly off: Branch;
}

/**
 * The selected streams themselves, which give a gate the gradient it would have in a mix a T(x) + (1 - a) F(x):
 * dL/da = <dL/dy, T(x) - F(x)>. The branch not taken is evaluated in the backward pass and reduced at once to one number
 * per sample: nothing of it is stored, and no gradient runs through it, which hard gates would multiply by zero anyway.
 */
export function connect(streams: Streams, selected: Streams, { gate, ...how }: Counterfactual): Streams {
  const inputs = partsOf(streams, ['hidden', 'mask', 'residual']);
  const outputs = partsOf(selected, VALUES); // nobody chooses between masks
  const shapes = outputs.map(({ x }) => x.shape);
  const op = tf.customGrad((...args) => {
    const [packed, , save] = args as [tf.Tensor, tf.Tensor, tf.GradSaveFunc];
    save([...inputs.map(({ x }) => x), ...outputs.map(({ x }) => x)]);
    return {
      value: packed.clone(),
      gradFunc: (dy: tf.Tensor, saved: tf.Tensor[]) => {
        const dys = unpack(dy, shapes);
        const given = rebuild(inputs, saved.slice(0, inputs.length));
        return [dy, gateGradient(given, saved.slice(inputs.length), dys, outputs, how)];
      },
    };
  });
  const parts = unpack(op(pack(outputs.map(({ x }) => x)), gate), shapes);
  return { ...selected, ...rebuild(outputs, parts, selected) };
}

/** sum of dy (T - F) over all but rows: [R, 1]; zero for rows that are not evaluated. */
function gateGradient(streams: Streams, selected: readonly tf.Tensor[], dys: readonly tf.Tensor[], outputs: readonly Part[], { partition, scale, on, off }: Omit<Counterfactual, 'gate'>): tf.Tensor {
  const count = dys[0]!.shape[0]!;
  // T - F, or F - T where F was taken: that is a sign.
  const gains = (rows: Rows, other: Branch, sign: number): tf.Tensor => {
    const all = !isGroup(rows) && rows.length === count;
    const take = (x: tf.Tensor) => (all ? x : primal(takeRows(x, rows)));
    const without = partsOf(all ? other(streams) : other(takeStreamRows(streams, rows), rows), VALUES);
    const terms = outputs.map(({ name, part }, i) => {
      const y = without.find((w) => w.name === name && w.part === part)!.x;
      const gain = tf.mul(take(dys[i]!), tf.sub(take(selected[i]!), y));
      return tf.sum(tf.reshape(gain, [gain.shape[0]!, -1]), 1);
    });
    return tf.mul(tf.addN(terms), sign * scale);
  };
  const each = partition.parts.flatMap((rows, k) => {
    if (!isGroup(rows) && !rows.length) return [];
    if (k < 2) return [gains(rows, k === 0 ? off : on, k === 0 ? 1 : -1)];
    return [primal(takeRows(tf.zeros([count]), rows))];
  });
  return tf.reshape(primal(joinRows(each, partition)), [count, 1]);
}

interface Part {
  readonly name: string;
  readonly part: 'hidden' | 'mask' | 'residual';
  readonly x: tf.Tensor;
}

const VALUES = ['hidden', 'residual'] as const;

/** The arrays of streams. */
const partsOf = (streams: Streams, parts: readonly Part['part'][]): Part[] =>
  Object.entries(streams).flatMap(([name, s]) =>
    parts.flatMap((part): Part[] => {
      const x = s[part];
      return x instanceof tf.Tensor ? [{ name, part, x }] : [];
    }),
  );

/** Streams from their arrays; what a part is missing is taken from `like`. */
function rebuild(parts: readonly Part[], arrays: readonly tf.Tensor[], like: Streams = {}): Streams {
  const found: Record<string, Stream> = { ...like };
  parts.forEach(({ name, part }, i) => (found[name] = { ...found[name]!, [part]: arrays[i]! }));
  return found;
}

const pack = (xs: readonly tf.Tensor[]): tf.Tensor => (xs.length === 1 ? xs[0]! : tf.concat(xs.map((x) => tf.reshape(x, [-1]))));

function unpack(packed: tf.Tensor, shapes: readonly (readonly number[])[]): tf.Tensor[] {
  if (shapes.length === 1) return [packed];
  const sizes = shapes.map((shape) => shape.reduce((a, b) => a * b, 1));
  return tf.split(packed, sizes).map((x, i) => tf.reshape(x, [...shapes[i]!]));
}
