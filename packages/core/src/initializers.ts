import type { Random } from './random.ts';

/** Fills a tensor of a given shape from a keyed generator. Kernels are [in, out]. */
export type Initializer = (shape: readonly number[], random: Random) => Float32Array;

const size = (shape: readonly number[]) => shape.reduce((a, b) => a * b, 1);
const fill = (shape: readonly number[], draw: () => number) => Float32Array.from({ length: size(shape) }, draw);

/** Every entry the same. */
export const constant =
  (value: number): Initializer =>
  (shape) =>
    new Float32Array(size(shape)).fill(value);
/** All zero. */
export const zeros: Initializer = constant(0);
/** All one. */
export const ones: Initializer = constant(1);
/** N(mean, deviation^2). */
export const normal =
  (deviation: number, mean = 0): Initializer =>
  (shape, random) =>
    fill(shape, () => mean + deviation * random.normal());
/** Uniform in [-bound, bound). */
export const uniform =
  (bound: number): Initializer =>
  (shape, random) =>
    fill(shape, () => bound * (2 * random.uniform() - 1));
/** Xavier: uniform with bound sqrt(6 / (in + out)); Glorot and Bengio 2010. */
export const xavier: Initializer = (shape, random) => uniform(Math.sqrt(6 / (shape[0]! + shape.at(-1)!)))(shape, random);
/** He with the slope sqrt(5) of torch.nn.Linear: uniform with bound 1 / sqrt(in). */
export const kaiming: Initializer = (shape, random) => uniform(1 / Math.sqrt(shape[0]!))(shape, random);
/** A copy of given values. */
export const copyOf =
  (values: ArrayLike<number>): Initializer =>
  (shape) => {
    if (values.length !== size(shape)) throw new RangeError(`copyOf: ${values.length} values for shape [${shape.join(', ')}]`);
    return Float32Array.from(values);
  };
