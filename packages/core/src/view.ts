import type { Rows } from './samples.ts';

/** Which plugin instances are in force: all of them, none, or a set by name. Task heads stay in force in every variant. */
export type Variant = 'adapted' | 'pretrained' | readonly string[];

/** A change of how the inside of a stage runs. */
export interface View {
  readonly variant?: Variant;
  readonly pass?: number;
  readonly rows?: Rows; // of the rows of the surrounding view
  readonly range?: readonly [from: number, to: number]; // only blocks from <= block < to run
  readonly training?: boolean; // false: as in prediction, without dropout
}

/** 'adapted', 'pretrained', or the sorted names of a set: equal variants have equal names. */
export const variantName = (v: Variant): string => (typeof v === 'string' ? v : `{${[...v].sort().join(',')}}`);

/** Whether a plugin instance belongs to a variant. */
export const includes = (v: Variant, instance: string): boolean => (v === 'adapted' ? true : v === 'pretrained' ? false : v.includes(instance));
