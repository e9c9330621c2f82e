import * as tf from '@tensorflow/tfjs';
import type { Model } from './adapt.ts';
import { ConflictError, EspalierError } from './errors.ts';
import type { ModelWeight, ParameterPoint } from './points.ts';
import { Plan, type Attached } from './plan.ts';
import type { GroupDefaults, Host, Plugin } from './plugin.ts';
import { random } from './random.ts';
import { select } from './select.ts';
import { finish, startStep } from './step.ts';
import { tidy } from './tree.ts';
import { primal } from './value.ts';
import { isLinear, type Params } from './weights.ts';

/** The group of variables that are saved and loaded like all others, and that nothing trains. */
export const FROZEN = 'frozen';

/** What a plugin instance is given to attach with. Variables named in `shared` are taken from there instead of made anew; constants are added to a list. */
export function hostOf(
  plugin: Plugin,
  model: Model<unknown>,
  seed: number,
  ids: { next: number },
  parameters: Map<string, ParameterPoint>,
  shared: ReadonlyMap<string, ParameterPoint>,
  groups: Map<string, GroupDefaults> = new Map(),
  before: readonly Attached[] = [],
  constants: tf.Tensor[] = [],
): Host {
  const { points } = model.scope;
  const who = plugin.instance;
  return {
    model,
    linears: (at) => select(who, 'linear', points.linear, at),
    norms: (at) => select(who, 'norm', points.norm, at),
    embeddings: (at) => select(who, 'embedding', points.embedding, at),
    weights: (at) => select(who, 'weight', [...points.linear, ...points.norm, ...points.embedding], at),
    sites: (at) => select(who, 'site', points.site, at),
    stages: (at) => select(who, 'stage', points.stage, at),
    streams: [...new Set(points.source.flatMap((s) => s.writes))],
    constant: (path, shape, initializer) => {
      const held = tf.keep(tf.tensor(initializer(shape, random(seed, 'init', `${who}/${path}`)), [...shape]));
      constants.push(held);
      return held;
    },
    shapes: (at) => shapesOf(at, before),
    slot: (name) => ({ name: `${who}/${name}` }),
    parameters: (instance) => [...parameters.values()].filter((p) => p.instance === instance),
    group: (name, defaults) => {
      const said = groups.get(name);
      if (said && JSON.stringify(said) !== JSON.stringify(defaults))
        throw new ConflictError(`'${who}' would have the variables of group '${name}' moved by ${JSON.stringify(defaults)}, another plugin by ${JSON.stringify(said)}. Make their options agree.`);
      groups.set(name, defaults);
    },
    variable: (path, shape, initializer, group = 'default') => {
      const name = `${who}/${path}`;
      if (parameters.has(name)) throw new EspalierError(`'${who}' names the variable '${path}' twice`);
      const id = ids.next++;
      const known = shared.get(name)?.variable;
      // Named in our map, not in tfjs, whose names are global to the process.
      const variable = known ?? tf.tidy(() => tf.variable(tf.tensor(initializer(shape, random(seed, 'init', name)), [...shape])));
      const point: ParameterPoint = {
        id, path: name, role: 'parameter', stream: undefined, block: undefined,
        pretrained: { value: variable }, variable, instance: who, group,
      };
      parameters.set(name, point);
      return point;
    },
  };
}

/** Folds what the plugins so far do at a place, once, for the shapes it leaves. */
function shapesOf(at: ModelWeight, before: readonly Attached[]): ReadonlyMap<string, readonly number[]> {
  const step = startStep(new Plan(before), undefined, 0);
  try {
    return tidy(() => {
      const params = step.weight<Params>(at);
      const arrays = isLinear(params) ? { kernel: params.kernel, ...(params.bias && { bias: params.bias }) } : params;
      return new Map(Object.entries(arrays).map(([part, x]) => [part, primal(x).shape]));
    });
  } finally {
    finish(step);
  }
}
