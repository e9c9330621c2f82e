import * as tf from '@tensorflow/tfjs';
import { primal, type Hook, type Host, type ModelWeight, type ParameterPoint, type Step } from '@espalier/core';
import { addPenalties, multipliers } from './budget-hook.ts';
import { independentGates } from './choice.ts';
import { gatedWeights, tuned } from './copies.ts';
import { commonNoise, drawPath, votesOf } from './decide.ts';
import { hardGate, marginOf, type Draw } from './estimators.ts';
import { gateMeasures } from './measures.ts';
import { mixed } from './mixing.ts';
import { globalPolicy } from './policy.ts';
import type { Settings } from './settings.ts';
import { temperatureAt } from './temperature.ts';
import { gateCount, gateShares, type Unit } from './units.ts';

/**
 * Gates that are the same for every input, mixed inside weights: they cost one forward pass, and merge into plain weights.
 * In prediction an open gate is one whose log-odds are above 0.
 */
export function global(host: Host, units: readonly Unit[], settings: Settings): Hook[] {
  if (settings.policy.kind !== 'global') return [];
  const gates = gateCount(units);
  const { logits } = globalPolicy(host, independentGates(gates).start(settings.policy.prior));
  const own = multipliers(host, settings.budgets);
  const draw = (step: Step): Draw => drawn(step, logits, gates, settings);
  const gateOf = ({ first, width }: Unit, step: Step) => {
    const { margin, noise, gate, temperature } = draw(step);
    const cut = (x: tf.Tensor) => tf.slice(x, first, width);
    return hardGate({ margin: cut(margin), noise: cut(noise), gate: cut(gate), temperature }, settings.estimator);
  };
  const gated = new Map<ModelWeight, Unit>(units.flatMap((u) => u.weights.map((w): [ModelWeight, Unit] => [w, u])));
  const first = units[0]?.weights[0];
  // A weight is folded once a step, whatever reads it: the budget is counted with the first one.
  const withBudget = (unit: Unit, step: Step) => {
    if (step.training && settings.budgets.length) {
      const { margin, gate, ...rest } = draw(step);
      const row = (x: tf.Tensor): tf.Tensor => tf.reshape(x, [1, gates]);
      const shares = gateShares(units, Object.fromEntries(host.streams.map((name) => [name, 1])));
      addPenalties(step, settings.budgets, units, { gates: row(hardGate({ margin, gate, ...rest }, settings.estimator)), probabilities: row(tf.sigmoid(margin)) }, shares, own);
    }
    return gateOf(unit, step);
  };
  const numbers = (step: Step) => {
    const { gate, margin } = draw(step);
    return { gates: gate, probabilities: tf.sigmoid(margin) };
  };
  const hooks = gatedWeights(host, units, settings).map((w) => {
    const unit = gated.get(w);
    return unit ? mixed(host, w, unit, w === first ? withBudget : gateOf) : tuned(host, w);
  });
  return [...hooks, ...gateMeasures(units, numbers)];
}

/** Log-odds, noise and gates of one step: [D]. */
function drawn(step: Step, logits: ParameterPoint, gates: number, { evaluation, temperature }: Settings): Draw {
  const margin = marginOf(tf.reshape(primal(step.read(logits)), [gates, 2]));
  const drawn = (k: number) => marginOf(tf.reshape(commonNoise(step, drawPath(logits.instance, k), 2 * gates), [gates, 2]));
  const noise = step.training || evaluation !== 'argmax' ? drawn(0) : tf.zeros([gates]);
  const opened = (by: tf.Tensor) => tf.cast(tf.greater(tf.add(margin, by), 0), 'float32');
  const votes = step.training ? 1 : votesOf({ evaluation });
  const gate = votes === 1 ? opened(noise) : tf.cast(tf.greater(tf.addN([opened(noise), ...Array.from({ length: votes - 1 }, (_, k) => opened(drawn(k + 1)))]), votes / 2), 'float32');
  return { margin, noise, gate, temperature: temperatureAt(temperature, step.shared.step) };
}
