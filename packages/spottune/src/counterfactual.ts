import * as tf from '@tensorflow/tfjs';
import { takeStreamRows, type Branch, type Stream, type Streams } from '@espalier/core';

export interface Counterfactual {
  readonly gate: tf.Tensor2D; // [R, 1]
  readonly chosen: readonly boolean[]; // [R]
  readonly rows: readonly number[]; // of which to evaluate the branch not taken
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
function gateGradient(streams: Streams, selected: readonly tf.Tensor[], dys: readonly tf.Tensor[], outputs: readonly Part[], how: Omit<Counterfactual, 'gate'>): tf.Tensor {
  const { chosen, rows, scale, on, off } = how;
  const pieces: tf.Tensor[] = [tf.zeros([1])];
  const place = chosen.map(() => 0);
  let next = 1;
  for (const want of [true, false]) {
    const own = rows.filter((row) => chosen[row] === want);
    if (!own.length) continue;
    const all = own.length === chosen.length;
    const other = want ? off : on;
    const without = partsOf(all ? other(streams) : other(takeStreamRows(streams, own), own), VALUES);
    const take = (x: tf.Tensor) => (all ? x : tf.gather(x, tf.tensor1d([...own], 'int32')));
    const terms = outputs.map(({ name, part }, i) => {
      const y = without.find((w) => w.name === name && w.part === part)!.x;
      const gain = tf.mul(take(dys[i]!), tf.sub(take(selected[i]!), y)); // T - F, or F - T where F was taken
      return tf.sum(tf.reshape(gain, [own.length, -1]), 1);
    });
    pieces.push(tf.mul(tf.addN(terms), want ? scale : -scale));
    for (const row of own) place[row] = next++;
  }
  return tf.reshape(tf.gather(tf.concat(pieces), tf.tensor1d(place, 'int32')), [chosen.length, 1]);
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
