import { around, blend, OptionsError, SelectionError, type Hook, type Host } from '@espalier/core';
import * as tf from '@tensorflow/tfjs';
import { branchesOf } from './branches.ts';
import { gatedWeights, tuned } from './copies.ts';
import { gateMeasures } from './measures.ts';
import { mixed } from './mixing.ts';
import type { Settings } from './settings.ts';
import { strategyOf } from './strategies.ts';
import { gateCount, type Unit } from './units.ts';

/**
 * Decisions that are made when the plugin is attached. With copies of weights they are plain tuning of what is open, and
 * merge; only what is open has a copy. Otherwise closed stages are routed past.
 */
export function fixed(host: Host, units: readonly Unit[], settings: Settings): Hook[] {
  const gates = fixedGates(units, settings);
  const numbers = () => {
    const all = tf.tensor1d([...gates]);
    return { gates: all, probabilities: all };
  };
  return [...fixedHooks(host, units, settings, gates), ...gateMeasures(units, numbers)];
}

function fixedHooks(host: Host, units: readonly Unit[], settings: Settings, gates: readonly number[]): Hook[] {
  const own = (unit: Unit) => gates.slice(unit.first, unit.first + unit.width);
  const open = units.filter((u) => own(u).every((g) => g === 1));
  const partly = units.filter((u) => !open.includes(u) && own(u).some((g) => g === 1));
  const closed = units.filter((u) => !open.includes(u) && !partly.includes(u));
  const { off } = strategyOf(settings.strategy);
  const gated = new Set(units.flatMap((u) => u.weights));
  // What a strategy never closes is tuned whatever the gates say.
  const always = settings.copies ? gatedWeights(host, units, settings).filter((w) => !gated.has(w)) : [];
  const copies = (of: readonly Unit[]) => (settings.copies ? of.flatMap((u) => u.weights.map((w) => tuned(host, w))) : []);
  const free = always.map((w) => tuned(host, w));
  const gateOf = (unit: Unit) => tf.tensor1d([...own(unit)]);
  if (settings.copies && off === 'frozen') return [...free, ...copies(open), ...partly.flatMap((u) => u.weights.map((w) => mixed(host, w, u, gateOf)))];
  const route = (unit: Unit): Hook => {
    const branches = branchesOf(host, unit, off, settings);
    return around(unit.stage, 'route', (run, streams, step) => {
      const { on, off: past } = branches(run, step);
      return partly.includes(unit) ? blend(tf.tile(tf.expandDims(gateOf(unit), 0), [step.samples.length, 1]), streams, on, past) : past(streams);
    });
  };
  return [...free, ...copies([...open, ...partly]), ...[...partly, ...closed].map(route)];
}

/** One of 0 and 1 per gate. @throws OptionsError, SelectionError when the model has other blocks or another number of gates. */
export function fixedGates(units: readonly Unit[], { policy, last, blocks }: Settings): readonly number[] {
  if (policy.kind !== 'fixed') throw new OptionsError(`a policy of kind '${policy.kind}' has no fixed gates`);
  const { gates } = policy;
  const count = gateCount(units);
  const by = (isOpen: (unit: Unit, at: number) => boolean) => units.flatMap((u, at) => Array.from({ length: u.width }, () => (isOpen(u, at) ? 1 : 0)));
  switch (gates) {
    case 'standard':
      return by(() => true);
    case 'frozen':
      return by(() => false);
    case 'last_k': {
      const k = last ?? 1;
      if (k > units.length) throw new SelectionError(`'spottune' option 'last' is ${k}, this model has ${units.length} blocks. Use at most ${units.length}, or strategy 'standard'.`);
      return by((_, at) => at >= units.length - k);
    }
    case 'specific_k': {
      const unknown = blocks?.find((b) => !units.some((u) => u.stage.block === b));
      if (unknown !== undefined) throw new SelectionError(`'spottune' option 'blocks' names block ${unknown}, this model has blocks ${units.map((u) => u.stage.block).join(', ')}.`);
      return by(({ stage }) => !blocks?.some((b) => b === stage.block));
    }
    default:
      if (gates.length !== count) throw new OptionsError(`'spottune' option 'policy.gates' has ${gates.length} gates, this strategy has ${count} on this model`);
      return gates;
  }
}
