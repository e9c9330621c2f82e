import { SelectionError, within, type Host, type ModelWeight, type StagePoint, type WeightRole } from '@espalier/core';
import { deadScopes } from './liveness.ts';
import type { PARTS, TangentOptions } from './options.ts';

type Part = (typeof PARTS)[number];

/** A place with those of its arrays that get a tangent, and their shapes as the base has them. */
export interface Linearised {
  readonly at: ModelWeight;
  readonly arrays: ReadonlyMap<string, readonly number[]>; // by part: 'kernel', 'bias', 'gamma', 'beta', 'table'
}

const DEFAULT: readonly Part[] = ['attention', 'ffn', 'norms', 'biases', 'pooler', 'head'];
const OFFSETS = ['bias', 'beta'];

/**
 * The places that the options choose, in the model's order, without directions in which the output is constant: the bias of
 * a key shifts a whole row of scores, which softmax ignores, and of a dead scope nothing is read.
 * @throws SelectionError when nothing is left.
 */
export function linearisedBy(host: Host, options: TangentOptions): Linearised[] {
  if (!options.places) return [];
  const dead = deadScopes(host.model.scope.points);
  const found = chosenBy(host, options).flatMap(({ at, only }) => {
    if (dead.some((scope) => within(at.path, scope))) return [];
    const arrays = new Map([...host.shapes(at)].filter(([part]) => only(part) && !(part === 'bias' && isKey(at.role))));
    return arrays.size ? [{ at, arrays }] : [];
  });
  if (!found.length) throw new SelectionError(`'tangent' selects nothing that the answer depends on. Widen ${options.at === undefined ? 'lastK or parts' : 'at'}.`);
  return found;
}

const isKey = (role: WeightRole): boolean => role.endsWith('.key');

interface Chosen {
  readonly at: ModelWeight;
  readonly only: (part: string) => boolean; // whether an array of it is chosen
}

function chosenBy(host: Host, { at, lastK, parts = DEFAULT }: TangentOptions): Chosen[] {
  const all = host.weights();
  if (at !== undefined) {
    const ids = new Set((isList(at) ? at : [at]).flatMap((one) => host.weights(one).map((w) => w.id)));
    return all.filter((w) => ids.has(w.id)).map((w) => ({ at: w, only: () => true }));
  }
  const from = firstBlock(host, lastK);
  const offsets = parts.includes('biases');
  return all.flatMap((w): Chosen[] => {
    const part = partOf(w);
    if (part === undefined || (w.block === undefined ? part !== 'pooler' && part !== 'head' && part !== 'embeddings' : w.block < from)) return [];
    // Norms of blocks are a part of their own; whatever else is chosen brings its offsets where those are chosen.
    const whole = parts.includes(part);
    return whole || offsets ? [{ at: w, only: (name) => (OFFSETS.includes(name) && part !== 'norms' ? offsets && (whole || w.block !== undefined) : whole) }] : [];
  });
}

/** The first linearised block: `lastK` counts from the last, whichever streams they belong to. @throws SelectionError when there are not so many. */
export function firstBlock(host: Host, lastK: number | undefined): number {
  const count = blocksOf(host).length;
  if (lastK !== undefined && lastK > count) throw new SelectionError(`'tangent' option 'lastK' is ${lastK}, this model has ${count} blocks. Use at most ${count}, or leave it out for all.`);
  return lastK === undefined ? 0 : count - lastK;
}

export const blocksOf = (host: Host): StagePoint[] => host.stages({ role: 'block' });

function partOf({ role, block }: ModelWeight): Part | undefined {
  if (role === 'pooler') return 'pooler';
  if (role.startsWith('head.')) return 'head';
  if (role.startsWith('embed.')) return 'embeddings';
  if (block === undefined) return undefined;
  if (role.endsWith('.norm')) return 'norms';
  return role.startsWith('ffn.') ? 'ffn' : 'attention';
}

const isList = <T>(x: T | readonly T[]): x is readonly T[] => Array.isArray(x);
