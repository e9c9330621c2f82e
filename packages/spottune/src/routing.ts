import * as tf from '@tensorflow/tfjs';
import {
  around, blend, Dual, group, joinStreamRows, random, takeStreamRows,
  type Branch, type Hook, type Slot, type Step, type Streams,
} from '@espalier/core';
import type { Branches, BranchesOf } from './branches.ts';
import { connect } from './counterfactual.ts';
import { waysOf } from './expectation.ts';
import type { Unit } from './units.ts';

/** What a step decided, for the routes to read. */
export interface Decided {
  readonly gates: Slot<tf.Tensor>; // [B, 2 D]: gates, then their probabilities
  readonly chosen: Slot<Uint8Array>; // [B D], row by row; not set where both branches run for everyone
}

export interface Routing {
  readonly decided: Decided;
  readonly count: number; // D
  /** Which of the branches not taken a training step evaluates; none for an estimate that does not need them. */
  readonly counterfactual: { readonly fraction: number; readonly every: number } | undefined;
}

/** Sends every sample through the branch of each unit that its gate chose. */
export const routeUnit = (unit: Unit, branches: BranchesOf, routing: Routing): Hook =>
  around(unit.stage, 'route', (run, streams, step) => {
    // Streams that the stage neither reads nor writes go past it: they need no rows taken.
    const names = new Set([...unit.stage.reads, ...unit.stage.writes]);
    const inside = Object.fromEntries(Object.entries(streams).filter(([name]) => names.has(name)));
    const through = branches(run, step);
    const ways = () => waysOf(unit, probabilitiesOf(unit, routing, step), inside, through);
    return { ...streams, ...step.expect(ways, () => routed(unit, through, routing, inside, step)) };
  });

/** How probable it was that a unit's gates are open, row by row: [R W]. */
const probabilitiesOf = ({ first, width }: Unit, { decided, count }: Routing, step: Step): Float32Array =>
  tf.tidy(() => tf.slice(step.get(decided.gates), [0, count + first], [-1, width]).dataSync<'float32'>());

function routed(unit: Unit, { on, off }: Branches, { decided, count, counterfactual }: Routing, streams: Streams, step: Step): Streams {
  const all = step.get(decided.gates);
  const gate: tf.Tensor2D = tf.reshape(tf.slice(all, [0, unit.first], [-1, unit.width]), [all.shape[0]!, unit.width]);
  const dual = Object.values(streams).some((s) => s.hidden instanceof Dual);
  if (!step.has(decided.chosen) || (dual && step.training)) return blend(gate, streams, on, off);
  const bits = step.get(decided.chosen); // of the whole batch, whichever rows run here
  const rows = step.rows ?? step.shared.samples.map((_, i) => i);
  const open = rows.map((row) => bits.subarray(row * count + unit.first, row * count + unit.first + unit.width).reduce((n, bit) => n + bit, 0));
  if (unit.width > 1) return step.training && counterfactual ? blend(gate, streams, on, off) : heads(gate, open, unit.width, streams, { on, off });
  const chosen = open.map((n) => n === 1);
  const selected = group(chosen, streams, on, off);
  if (!step.training || !counterfactual) return selected;
  if (Object.values(selected).some((s) => s.hidden instanceof Dual)) return blend(gate, streams, on, off);
  const { fraction, every } = counterfactual;
  if (step.shared.step % every !== 0) return selected;
  const positions = chosen.map((_, i) => i);
  const { seed, step: at } = step.shared;
  const evaluated = fraction === 1 ? positions : positions.filter((i) => random(seed, at, step.samples[i]!, `${decided.gates.name} ${unit.stage.path}`).uniform() < fraction);
  return connect(streams, selected, { gate, chosen, rows: evaluated, scale: 1 / fraction, on, off });
}

/** Samples whose gates agree over all heads run one branch; the others run both, chosen head by head. */
function heads(gate: tf.Tensor2D, open: readonly number[], width: number, streams: Streams, { on, off }: Branches): Streams {
  const some: Branch = (s, rows) => blend(rows ? tf.gather(gate, tf.tensor1d([...rows], 'int32')) : gate, s, (x) => on(x, rows), (x) => off(x, rows));
  const kinds = [
    { rows: positions(open, (n) => n === width), branch: on },
    { rows: positions(open, (n) => n === 0), branch: off },
    { rows: positions(open, (n) => n > 0 && n < width), branch: some },
  ].filter(({ rows }) => rows.length);
  if (kinds.length === 1) return kinds[0]!.branch(streams);
  return joinStreamRows(kinds.map(({ rows, branch }) => branch(takeStreamRows(streams, rows), rows)), kinds.map(({ rows }) => rows));
}

const positions = <T>(xs: readonly T[], keep: (x: T) => boolean): number[] => xs.flatMap((x, i) => (keep(x) ? [i] : []));
