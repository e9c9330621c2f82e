import { CheckpointError, denseGradient, graphBackend, isRowGradient, type Gradient, type GraphBackend, type ParameterPoint, type RowGradient, type StoredTensor } from '@espalier/core';
import * as tf from '@tensorflow/tfjs';
import type { Method } from './methods.ts';

/** Arrays by name, as they go into a safetensors file. */
export type NamedArrays = ReadonlyMap<string, Omit<StoredTensor, 'dtype'>>;

interface State {
  count: number; // updates so far
  slots: readonly (readonly tf.Tensor[])[]; // by transform
}

/** Moves variables by their gradients. It owns its state, not the variables. */
export interface Optimiser {
  /** value <- value - chain(scale gradient). A variable without a gradient is left alone: it neither moves nor decays, and its count stands. */
  update(gradients: ReadonlyMap<string, Gradient>, rate: number, scale?: number): void;
  /** The state by name: `count/VARIABLE` (int32) and `TRANSFORM.SLOT/VARIABLE` (float32, the variable's shape). */
  save(): Promise<NamedArrays>;
  /** Takes a saved state over. @throws CheckpointError naming an array that is missing, unknown or of another shape. */
  load(arrays: NamedArrays, file?: string): void;
  dispose(): void;
}

/** An optimiser of these variables by this method. Equal gradients give equal variables, bit for bit, on one backend. */
export function optimiser(method: Method, points: readonly ParameterPoint[]): Optimiser {
  const { chain } = method;
  const zero = ({ shape }: tf.Tensor) => chain.map((t) => t.slots.map(() => tf.tidy(() => tf.keep(tf.zeros(shape)))));
  const states = new Map(points.map((p): [string, State] => [p.path, { count: 0, slots: zero(p.variable) }]));

  const move = (at: ParameterPoint, given: Gradient, rate: number, scale: number): void => {
    const state = states.get(at.path)!;
    const count = state.count + 1;
    const slots = tf.tidy(() => {
      const gradient = denseGradient(given);
      let update = scale === 1 ? gradient : tf.mul(gradient, scale);
      const next = chain.map((transform, i) => {
        const changed = transform.apply({ at, update, value: at.variable, slots: state.slots[i]!, count, rate });
        update = changed.update;
        return changed.slots.map((t) => tf.keep(t));
      });
      at.variable.assign(tf.sub(at.variable, update));
      return next;
    });
    tf.dispose(state.slots.flat());
    states.set(at.path, { count, slots });
  };

  /** `move` in place. Of a gradient that is rows no array of the table's size is formed. */
  const moveOnHost = (engine: GraphBackend, onHost: NonNullable<Method['onHost']>, at: ParameterPoint, gradient: Gradient, rate: number, scale: number): void => {
    const state = states.get(at.path)!;
    const sweep = onHost({ at, count: ++state.count, rate, scale });
    const value = engine.writable(at.variable);
    const slots = state.slots.flat().map((t) => engine.writable(t));
    if (!isRowGradient(gradient)) return sweep(value, engine.values(gradient), slots);
    const read = rowReader(engine, gradient);
    for (let from = 0; from < value.length; from += STRETCH) {
      const here = (x: Float32Array) => x.subarray(from, from + STRETCH);
      sweep(here(value), read(from, Math.min(STRETCH, value.length - from)), slots.map(here));
    }
  };

  return {
    update: (gradients, rate, scale = 1) => {
      const engine = graphBackend();
      for (const at of points) {
        const gradient = gradients.get(at.path);
        if (!gradient) continue;
        if (engine && method.onHost) moveOnHost(engine, method.onHost, at, gradient, rate, scale);
        else move(at, gradient, rate, scale);
      }
    },
    save: async () => {
      const arrays = new Map<string, Omit<StoredTensor, 'dtype'>>();
      for (const { path } of points) {
        const { count, slots } = states.get(path)!;
        arrays.set(`count/${path}`, { shape: [1], data: Int32Array.of(count) });
        for (const [i, own] of slots.entries())
          for (const [j, t] of own.entries()) arrays.set(`${slotName(method, i, j)}/${path}`, { shape: t.shape, data: await t.data<'float32'>() });
      }
      return arrays;
    },
    load: (arrays, file = 'optimiser state') => {
      const left = new Set(arrays.keys());
      const take = (name: string, shape: readonly number[]) => {
        const found = arrays.get(name);
        left.delete(name);
        if (!found) throw new CheckpointError(`${file}: array '${name}' is missing`);
        if (found.shape.join() !== shape.join()) throw new CheckpointError(`${file}: array '${name}' has shape [${found.shape.join(', ')}], expected [${shape.join(', ')}]`);
        return found.data;
      };
      const read = points.map(({ path, variable }) => {
        const count = take(`count/${path}`, [1]);
        if (!(count instanceof Int32Array)) throw new CheckpointError(`${file}: array 'count/${path}' is not of 32-bit integers`);
        const slots = chain.map((t, i) =>
          t.slots.map((_, j) => {
            const name = `${slotName(method, i, j)}/${path}`;
            const data = take(name, variable.shape);
            if (!(data instanceof Float32Array)) throw new CheckpointError(`${file}: array '${name}' is not of 32-bit floats`);
            return data;
          }),
        );
        return { path, shape: variable.shape, count: count[0]!, slots };
      });
      const [extra] = left;
      if (extra !== undefined) throw new CheckpointError(`${file}: array '${extra}' belongs to no variable of this run`);
      for (const { path, shape, count, slots } of read) {
        tf.dispose(states.get(path)!.slots.flat());
        states.set(path, { count, slots: slots.map((own) => own.map((data) => tf.tidy(() => tf.keep(tf.tensor(data, shape))))) });
      }
    },
    dispose: () => {
      for (const { slots } of states.values()) tf.dispose(slots.flat());
      states.clear();
    },
  };
}

/** Stretches of a gradient that is rows, as arrays that hold until the next is read. */
function rowReader(engine: GraphBackend, gradient: RowGradient): (from: number, length: number) => Float32Array {
  const rows = engine.values(gradient.rows);
  const width = gradient.shape[1]!;
  const places = new Map<number, number[]>(); // of the table's rows among those that were read
  gradient.index.dataSync().forEach((row, i) => places.set(row, [...(places.get(row) ?? []), i]));
  const stretch = new Float32Array(STRETCH);
  return (from, length) => {
    const to = from + length;
    stretch.fill(0);
    for (let row = Math.floor(from / width); row * width < to; row++)
      for (const place of places.get(row) ?? [])
        for (let i = Math.max(from, row * width); i < Math.min(to, (row + 1) * width); i++) stretch[i - from]! += rows[(place - row) * width + i]!;
    return stretch.subarray(0, length);
  };
}

/** Numbers that are read of such a gradient at a time. */
const STRETCH = 1 << 12;

/** A transform may stand in a chain twice, hence its position. */
const slotName = ({ chain }: Method, i: number, j: number): string => `${i}.${chain[i]!.name}.${chain[i]!.slots[j]!}`;
