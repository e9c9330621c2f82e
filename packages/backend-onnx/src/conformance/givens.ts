import type { Given } from './op-cases.ts';

/** Numbers between -2 and 2 that follow from their position: no generator, the same everywhere. */
const number = (i: number, salt: number): number => Math.fround(4 * fraction(Math.sin((i + 1) * 12.9898 + salt * 78.233) * 43758.5453) - 2);
const fraction = (x: number): number => x - Math.floor(x);

const count = (shape: readonly number[]) => shape.reduce((a, b) => a * b, 1);
const filled = (shape: readonly number[], salt: number) => Array.from({ length: count(shape) }, (_, i) => number(i, salt));

export const floats = (shape: readonly number[], salt = 0): Given => ({ values: filled(shape, salt), shape, dtype: 'float32' });
export const positive = (shape: readonly number[], salt = 0): Given => ({ values: filled(shape, salt).map((x) => Math.fround(Math.abs(x) + 0.01)), shape, dtype: 'float32' });
/** Between -1 and 1, both excluded. */
export const unit = (shape: readonly number[], salt = 0): Given => ({ values: filled(shape, salt).map((x) => Math.fround(x * 0.49)), shape, dtype: 'float32' });
export const ints = (shape: readonly number[], salt = 0): Given => ({ values: filled(shape, salt).map((x) => Math.round(10 * x)), shape, dtype: 'int32' });
export const bools = (shape: readonly number[], salt = 0): Given => ({ values: filled(shape, salt).map((x) => (x > 0 ? 1 : 0)), shape, dtype: 'bool' });
/** Positions in [0, below). */
export const positions = (shape: readonly number[], below: number, salt = 0): Given => ({ values: filled(shape, salt).map((x) => Math.floor(((x + 2) / 4) * below)), shape, dtype: 'int32' });
export const exactly = (values: readonly number[], shape: readonly number[] = [values.length], dtype: Given['dtype'] = 'float32'): Given => ({ values, shape, dtype });
/** What breaks careless code. */
export const awkward = exactly([NaN, Infinity, -Infinity, 0, -0, 1, -1, 0.5, 1e30, -1e30, 3.4e-20]);
