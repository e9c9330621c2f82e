import type { HostArray, HostType } from './arrays.ts';
import type { Ragged } from './ragged.ts';
import type { RecordedNode } from './recorded.ts';

/** One array: its values, or the recorded node that will compute them. Several tensors may view it under different shapes. */
export interface Storage {
  readonly id: number;
  readonly size: number;
  readonly dtype: HostType;
  shape: readonly number[]; // as it was made
  values: HostArray | undefined;
  producer: RecordedNode | undefined; // until computed
  failure: Error | undefined; // why it could not be
  disposed: boolean; // no tensor refers to it any more
  pins: number; // recorded nodes that still need it
  ragged: Ragged | undefined; // it holds fewer rows than its shape says
  uniform: boolean; // all its rows are equal
}

let next = 0;

export const storage = (size: number, dtype: HostType, shape: readonly number[], values?: HostArray): Storage => ({
  id: next++, size, dtype, shape, values, producer: undefined, failure: undefined, disposed: false, pins: 0, ragged: undefined, uniform: false,
});

/** An id above those of all storages there are. */
export const newestStorage = (): number => next;
