import type { Attributes } from '../operation.ts';

/*
 * Attributes of kernels come from tfjs-core, checked there. A wrong one means another version of it: fail loudly.
 */

const wrong = (name: string, x: unknown): never => {
  throw new Error(`the kernel attribute '${name}' is ${JSON.stringify(x)}, not what tfjs 4.22 gives`);
};

export function numberOf(attrs: Attributes, name: string): number {
  const x = attrs[name];
  return typeof x === 'number' ? x : wrong(name, x);
}
export function booleanOf(attrs: Attributes, name: string): boolean {
  const x = attrs[name];
  return typeof x === 'boolean' || x === undefined ? (x ?? false) : wrong(name, x);
}
/** A list of numbers; a typed array is one. */
export function numbersOf(attrs: Attributes, name: string): number[] {
  const x = attrs[name];
  if (Array.isArray(x) && x.every((i) => typeof i === 'number')) return x;
  return ArrayBuffer.isView(x) && 'length' in x ? Array.from(x as Int32Array, Number) : wrong(name, x); // a view with a length is a typed array
}
/** A number, a list of numbers, or nothing. */
export function axesOf(attrs: Attributes, name: string): number | number[] | undefined {
  const x = attrs[name];
  return x === undefined || x === null ? undefined : typeof x === 'number' ? x : numbersOf(attrs, name);
}
