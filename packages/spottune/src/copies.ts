import { entriesOf, mapParams, primal, weight, type Host, type Hook, type Initializer, type ModelWeight, type ParameterPoint, type Params, type WeightPoint } from '@espalier/core';
import { HEAD, type Unit } from './units.ts';
import type { Settings } from './settings.ts';

/** The tuned copy of a place: one variable per array, by the array's name. */
export type Copy = ReadonlyMap<string, ParameterPoint>;

/** Variables that start as the pretrained arrays of a place. */
export function copyOf(host: Host, at: ModelWeight): Copy {
  const values = (x: Parameters<typeof primal>[0]): Initializer => () => primal(x).dataSync<'float32'>().slice();
  return new Map(entriesOf(at.pretrained).map(([part, x]) => [part, host.variable(`${at.path}.${part}`, x.shape, values(x))]));
}

/** W' = V with V the tuned copy, as one hook for every kind of place. */
export function tuned(host: Host, at: ModelWeight, { always = false }: { readonly always?: boolean } = {}): Hook {
  const own = copyOf(host, at);
  // Of all kinds of places alike: every array is replaced by its copy.
  return weight(at as WeightPoint<Params>, (p, step) => mapParams(p, (_, part) => step.read(own.get(part)!)), { mode: 'replace', always });
}

/** Every place that some gated unit computes with, once; in the released sub-block form also the feed-forward's ungated half. */
export function gatedWeights(host: Host, units: readonly Unit[], { strategy, resIntermediate }: Settings): ModelWeight[] {
  const paths = new Set(units.flatMap((u) => u.weights.map((w) => w.path)));
  if (strategy === 'spottune_res' && resIntermediate === 'shared')
    for (const { stage } of units) if (stage.role === 'ffn.contract') for (const w of host.linears({ role: 'ffn.up', path: stage.covers })) paths.add(w.path);
  return host.weights().filter((w) => paths.has(w.path));
}

/** Copies of all that is outside of blocks and head, in force in every variant: they have no frozen twin. */
export const tunedSurroundings = (host: Host): Hook[] =>
  host.weights().filter((w) => w.block === undefined && !HEAD.includes(w.role)).map((w) => tuned(host, w, { always: true }));
