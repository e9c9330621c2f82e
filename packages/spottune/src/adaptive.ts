import * as tf from '@tensorflow/tfjs';
import { zeros, type Hook, type Host, type Step } from '@espalier/core';
import { branchesOf } from './branches.ts';
import { budgetHook } from './budget-hook.ts';
import { gatedWeights, tuned } from './copies.ts';
import { independentGates } from './choice.ts';
import { decide } from './decide.ts';
import { firstOpen } from './first-open.ts';
import { gateMeasures, type Numbers } from './measures.ts';
import { policyFor } from './policies.ts';
import { GROUP } from './policy.ts';
import { routeUnit, type Decided } from './routing.ts';
import type { Settings } from './settings.ts';
import type { Sorted } from './sorted.ts';
import { strategyOf } from './strategies.ts';
import { gateCount, type Unit } from './units.ts';

/** Name of the slot of a step's gates and their probabilities, [B, 2 D], after that of the instance. */
const GATES = 'gates';

/** A policy decides once per step, and every unit sends each sample where its gate says. */
export function adaptive(host: Host, units: readonly Unit[], settings: Settings): Hook[] {
  const { policy: options, estimator } = settings;
  const { oneDecision = false } = strategyOf(settings.strategy);
  const gates = gateCount(units);
  const decided: Decided = { gates: host.slot<tf.Tensor>(GATES), chosen: host.slot<Uint8Array>('chosen'), sorted: host.slot<Sorted>('sorted') };
  const capacity = settings.budgets.find((b) => b.kind === 'capacity');
  const choice = oneDecision ? firstOpen(gates) : independentGates(gates, capacity?.kind === 'capacity' ? capacity.share : undefined);
  const policy = policyFor(host, options, choice);
  const baseline = estimator === 'score' && policy ? host.variable('policy.baseline', [1], zeros, GROUP) : undefined;
  const counts = policy && estimator !== 'score';
  return [
    decide({ settings, instance: decided.gates.name.slice(0, -GATES.length - 1), units, gates, choice, decided, policy, baseline }),
    ...budgetHook(host, units, settings.budgets, decided.gates),
    ...(settings.copies ? gatedWeights(host, units, settings).map((w) => tuned(host, w)) : []),
    ...routes(host, units, settings, decided, counts ? settings.counterfactual : undefined),
    ...gateMeasures(units, halves(decided, gates)),
  ];
}

const halves = ({ gates }: Decided, count: number) => (step: Step): Numbers => {
  const [open, probabilities] = [0, count].map((from) => tf.slice(step.get(gates), [0, from], [-1, count]));
  return { gates: open!, probabilities: probabilities! };
};

/** The routes of all units whose gates have an effect. */
export function routes(host: Host, units: readonly Unit[], settings: Settings, decided: Decided, counterfactual: Settings['counterfactual'] | undefined): Hook[] {
  const { off } = strategyOf(settings.strategy);
  const gates = gateCount(units);
  // In the released one-stream code both sides of this mix are the tuned output.
  const dead = ({ stage }: Unit) => settings.aoGate === 'dead' && host.streams.length === 1 && stage.role === 'attention.project';
  return units.filter((u) => !dead(u)).map((u) => routeUnit(u, branchesOf(host, u, off, settings), { decided, count: gates, counterfactual }));
}
