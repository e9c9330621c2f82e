import * as tf from '@tensorflow/tfjs';
import { around, primal, zeros, type Hook, type Host, type ParameterPoint, type Slot, type Step } from '@espalier/core';
import type { Budget } from './budget-options.ts';
import { penalty } from './budget.ts';
import { GROUP } from './policy.ts';
import { gateCount, gateShares, type Unit } from './units.ts';

/** The multiplier of every augmented Lagrangian among the budgets, by position. */
export const multipliers = (host: Host, budgets: readonly Budget[]): (ParameterPoint | undefined)[] =>
  budgets.map((b, i) => (b.kind === 'lagrangian' ? host.variable(`budget.${i}.multiplier`, [1], zeros, GROUP) : undefined));

/** The gates of every block that has any. */
function blockGates(units: readonly Unit[]): number[][] {
  const found = new Map<number | undefined, number[]>();
  for (const { stage, first, width } of units) found.set(stage.block, [...(found.get(stage.block) ?? []), ...Array.from({ length: width }, (_, i) => first + i)]);
  return [...found.values()];
}

/** Adds every budget's penalty to the losses of the step, as 'INSTANCE.KIND'. */
export function addPenalties(
  step: Step,
  budgets: readonly Budget[],
  units: readonly Unit[],
  { gates, probabilities }: { readonly gates: tf.Tensor; readonly probabilities: tf.Tensor },
  shares: Float32Array,
  own: readonly (ParameterPoint | undefined)[],
): void {
  const blocks = blockGates(units);
  budgets.forEach((budget, i) => {
    if (budget.kind === 'capacity') return;
    const at = own[i];
    const multiplier = at && primal(step.read(at));
    step.loss(`spottune.${budget.kind}`, penalty(budget, { gates, probabilities, shares: tf.tensor1d(shares), blocks, multiplier }));
  });
}

/** Adds the budgets' penalties of a step's decisions, where tokens are about to enter the encoder for the first time. */
export function budgetHook(host: Host, units: readonly Unit[], budgets: readonly Budget[], decided: Slot<tf.Tensor>): Hook[] {
  if (budgets.every((b) => b.kind === 'capacity')) return [];
  const own = multipliers(host, budgets);
  const gates = gateCount(units);
  return host.stages({ role: 'encoder' }).map((encoder) =>
    around(encoder, 'edit', (run, streams, step) => {
      if (!step.training || step.pass > 0) return run(streams);
      const all = step.get(decided); // [B, 2 D]
      const half = (from: number) => tf.slice(all, [0, from], [-1, gates]);
      const tokens = Object.fromEntries(Object.entries(streams).map(([name, s]) => [name, s.hidden.shape[1]!]));
      addPenalties(step, budgets, units, { gates: half(0), probabilities: half(gates) }, gateShares(units, tokens), own);
      return run(streams);
    }),
  );
}
