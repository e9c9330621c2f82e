import { select, SelectionError, within, type LinearPoint, type ModelWeight, type Points, type Select, type StagePoint, type StageRole } from '@espalier/core';
import { strategyOf } from './strategies.ts';
import type { Settings } from './settings.ts';

/** One gated stage: `width` gates from `first` on, in the model's own order. Gate 1 runs it as adapted. */
export interface Unit {
  readonly index: number; // among the units
  readonly stage: StagePoint;
  readonly first: number;
  readonly width: number;
  readonly weights: readonly ModelWeight[]; // what its computation is made of
}

/** Places of the task's head; they are never gated. */
export const HEAD: readonly string[] = ['head.up', 'head.norm', 'head.down'];

/** Which weights a stage of this role computes with, among those of the scope it covers. */
const PARTS: Readonly<Partial<Record<StageRole, readonly string[]>>> = {
  attention: ['attention.'], cross: ['cross.'], ffn: ['ffn.'],
  'attention.heads': ['attention.query', 'attention.key', 'attention.value'], 'attention.project': ['attention.output', 'attention.norm'],
  'cross.heads': ['cross.query', 'cross.key', 'cross.value'], 'cross.project': ['cross.output', 'cross.norm'],
  'ffn.expand': ['ffn.up'], 'ffn.contract': ['ffn.down', 'ffn.norm'],
};

const partOf = ({ role, covers }: StagePoint, w: ModelWeight): boolean =>
  within(w.path, covers) && (PARTS[role]?.some((part) => w.role === part || (part.endsWith('.') && w.role.startsWith(part))) ?? true);

/**
 * The gated stages of a model under a strategy, with D = the sum of their widths gates: 12, 24 and 180 for a VL-BERT of 12
 * blocks and 12 heads by block, sublayer and component; 19, 53 and 425 for LXMERT 9/5/5. @throws SelectionError when there is none.
 */
export function unitsOf(points: Points, { strategy, at, resIntermediate, readout }: Settings, who = 'spottune'): Unit[] {
  const { roles } = strategyOf(strategy);
  // The released sub-block code gates the second half of a feed-forward alone.
  const shared = strategy === 'spottune_res' && resIntermediate === 'shared';
  const role = shared ? roles.map((r): StageRole => (r === 'ffn' ? 'ffn.contract' : r)) : roles;
  const chosen = select(who, 'stage', points.stage, { ...at, role } satisfies Select<StageRole>);
  const live = readout === 'cls' ? chosen.filter((stage) => !isDead(points, stage)) : chosen;
  if (!live.length) throw new SelectionError(`'${who}' gates only places that the answer does not read. Widen at, or set readout to 'all'.`);
  const weights: ModelWeight[] = [...points.linear, ...points.norm, ...points.embedding];
  let first = 0;
  return live.map((stage, index) => {
    const unit = { index, stage, first, width: stage.width, weights: weights.filter((w) => partOf(stage, w)) };
    first += stage.width;
    return unit;
  });
}

/** D: how many gates there are. */
export const gateCount = (units: readonly Unit[]): number => units.reduce((n, u) => n + u.width, 0);

/** In the last block of several streams, what happens in a stream that the answer is not read from. */
function isDead(points: Points, { stream, block }: StagePoint): boolean {
  const last = Math.max(...points.stage.map((s) => s.block ?? -1));
  const streams = new Set(points.source.flatMap((s) => s.writes));
  const read = points.linear.find((w) => w.role === 'head.down')?.stream;
  return streams.size > 1 && block === last && stream !== undefined && read !== undefined && stream !== read;
}

/** Token counts of one sample, by stream. */
export type Tokens = Readonly<Record<string, number>>;

/** Multiply-adds of a unit for one sample: in out T of every linear in every stream that uses it, and q k' and p v of attention. */
export function unitMacs({ stage, weights }: Unit, tokens: Tokens): number {
  const linears = weights.filter((w): w is LinearPoint => 'in' in w);
  return linears.reduce((total, w) => {
    const used = (w.stream === undefined ? stage.reads : [w.stream]).map((name) => tokens[name] ?? 0);
    const linear = w.in * w.out * used.reduce((a, b) => a + b, 0);
    if (w.role === 'attention.value') return total + linear + used.reduce((sum, t) => sum + 2 * t * t * w.out, 0);
    if (w.role === 'cross.value') return total + linear + 4 * used.reduce((a, b) => a * b, 1) * w.out;
    return total + linear;
  }, 0);
}

/** Each gate's share of what all gated units cost; they add up to 1: [D]. */
export function gateShares(units: readonly Unit[], tokens: Tokens): Float32Array {
  const macs = units.map((u) => unitMacs(u, tokens));
  const total = macs.reduce((a, b) => a + b, 0);
  return Float32Array.from(units.flatMap(({ width }, i) => Array.from({ length: width }, () => macs[i]! / total / width)));
}
