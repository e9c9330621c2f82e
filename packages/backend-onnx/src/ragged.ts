import { sizeOf } from './arrays.ts';
import { RaggedError } from './errors.ts';
import type { Operation } from './operation.ts';
import type { Reading } from './recorded.ts';
import type { Storage } from './storage.ts';

/*
 * A ragged array has fewer rows than its shape says: how many is a number that the graph reads. So samples that take
 * different ways through a step stay in one graph, whatever their number. Shapes count all samples of the batch; axis 0 is
 * that many, or a multiple (tokens). Operations may work on every row by itself or reduce all of them, and may not mix them.
 */

/** Arrays of one group hold the same samples. */
export interface Ragged {
  readonly group: Storage; // of their number
  readonly samples: number; // as shapes say
}

/** What an operation makes of ragged inputs. @throws RaggedError when it mixes rows. */
export function raggedOf(kernel: string, operation: Operation, inputs: readonly Reading[]): Ragged | undefined {
  if (operation.ragged) return operation.ragged(inputs.map((i) => i.storage));
  const held = inputs.map(({ storage }) => storage.ragged);
  const own = held.find((r) => r !== undefined);
  if (!own) return undefined;
  const refuse = (why: string): never => {
    throw new RaggedError(`kernel ${kernel} of ${inputs.map((i) => `[${i.shape.join(', ')}]${i.storage.ragged ? ' of some samples' : ''}`).join(' and ')}: ${why}`);
  };
  const whole = (shape: readonly number[]) => shape.length > 0 && shape[0]! % own.samples === 0;
  if (held.some((r) => r && r.group !== own.group)) refuse('they are of different samples');
  if (!inputs.every((i) => !i.storage.ragged || whole(i.shape))) refuse('samples are not along its first axis');
  const effect = operation.rows?.(held.map((r) => r !== undefined));
  if (effect === undefined) refuse('it mixes rows');
  if (effect === 'all') return undefined;
  for (const { shape } of operation.outputs) {
    if (!whole(shape)) refuse('its result does not have samples along the first axis');
    if (effect === 'each' && !inputs.every((i) => fits(i, shape))) refuse('some of its inputs are of all samples');
  }
  return own;
}

/** Whether an input of an entrywise operation has the rows of its result, or the same for all of them. */
const fits = ({ storage, shape }: Reading, out: readonly number[]): boolean =>
  storage.ragged ? shape.length === out.length && shape[0] === out[0] : !hasRows(shape, out) || storage.uniform;

/** Whether axis 0 of the result is axis 0 of an input too, not broadcast. */
export const hasRows = (shape: readonly number[], out: readonly number[]): boolean => shape.length === out.length && shape[0] !== 1;

/** The shape of a ragged array in a graph: its first axis is known when the graph runs. */
export const openShape = (shape: readonly number[]): number[] => [-1, ...shape.slice(1)];
export const rowSize = (shape: readonly number[]): number => sizeOf(shape.slice(1));
