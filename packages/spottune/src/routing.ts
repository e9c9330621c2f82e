import * as tf from '@tensorflow/tfjs';
import { around, blend, divide, Dual, listed, takeRows, through, type Branch, type Hook, type Slot, type Step, type Streams } from '@espalier/core';
import type { Branches, BranchesOf } from './branches.ts';
import { connect } from './counterfactual.ts';
import { waysOf } from './expectation.ts';
import { divided, evaluates, partitionOf, wayOf, type Sorted } from './sorted.ts';
import type { Unit } from './units.ts';

/** What a step decided, for the routes to read. */
export interface Decided {
  readonly gates: Slot<tf.Tensor>; // [B, 2 D]: gates, then their probabilities
  readonly chosen: Slot<Uint8Array>; // [B D], row by row; not set where both branches run for everyone, or where `sorted` is
  readonly sorted: Slot<Sorted>; // the same as arrays, for a step that is recorded
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
    const both = branches(run, step);
    const ways = () => waysOf(unit, probabilitiesOf(unit, routing, step), inside, both);
    return { ...streams, ...step.expect(ways, () => routed(unit, both, routing, inside, step)) };
  });

/** How probable it was that a unit's gates are open, row by row: [R W]. */
const probabilitiesOf = ({ first, width }: Unit, { decided, count }: Routing, step: Step): Float32Array =>
  tf.tidy(() => tf.slice(step.get(decided.gates), [0, count + first], [-1, width]).dataSync<'float32'>());

function routed(unit: Unit, { on, off }: Branches, routing: Routing, streams: Streams, step: Step): Streams {
  const { decided, count, counterfactual } = routing;
  const all = step.get(decided.gates);
  const gate: tf.Tensor2D = tf.reshape(tf.slice(all, [0, unit.first], [-1, unit.width]), [all.shape[0]!, unit.width]);
  const dual = Object.values(streams).some((s) => s.hidden instanceof Dual);
  const learns = step.training && counterfactual !== undefined;
  if ((dual && step.training) || (unit.width > 1 && learns)) return blend(gate, streams, on, off);
  if (step.has(decided.sorted)) {
    // Rows of rows are not sorted: both branches run for those that are here.
    if (step.rows) return blend(gate, streams, on, off);
    const sorted = step.get(decided.sorted);
    const branches = unit.width > 1 ? [on, off, mixing(gate, { on, off })] : [on, off];
    const selected = through(partitionOf(sorted.taken, unit, branches.length), streams, branches);
    if (!learns || !sorted.learns) return selected;
    const partition = sorted.evaluated ? partitionOf(sorted.evaluated, unit, 3) : partitionOf(sorted.taken, unit, 2);
    return connect(streams, selected, { gate, partition, scale: 1 / counterfactual.fraction, on, off });
  }
  if (!step.has(decided.chosen)) return blend(gate, streams, on, off);
  const bits = step.get(decided.chosen); // of the whole batch, whichever rows run here
  const { samples } = step;
  const rows = step.positions;
  const way = (i: number) => wayOf(bits, rows[i]!, unit, count);
  const selected = divide(step, divided(rows.length, way), streams, [on, off, mixing(gate, { on, off })]);
  if (!learns) return selected;
  const { fraction, every } = counterfactual;
  const { seed, step: at } = step.shared;
  if (at % every !== 0) return selected;
  const evaluated = (i: number) => evaluates({ seed, step: at, sample: samples[i]!, name: decided.gates.name, unit, fraction });
  const partition = listed(divided(rows.length, (i) => (evaluated(i) ? way(i) : 2)));
  return connect(streams, selected, { gate, partition, scale: 1 / fraction, on, off });
}

/** Samples whose heads do not agree run both branches, chosen head by head. */
const mixing = (gate: tf.Tensor2D, { on, off }: Branches): Branch => (s, rows) =>
  blend(rows ? (takeRows(gate, rows) as tf.Tensor2D) : gate, s, (x) => on(x, rows), (x) => off(x, rows));
