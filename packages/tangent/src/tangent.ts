import * as tf from '@tensorflow/tfjs';
import {
  definePlugin, didYouMean, dual, mapParams, primal, SelectionError, tangentOf, weight, zeros,
  type Hook, type ParameterPoint, type Params, type Step, type Value, type WeightPoint,
} from '@espalier/core';
import { drawnAnew, replacedToken } from './base.ts';
import { commands } from './commands.ts';
import { options } from './options.ts';
import { linearisedBy } from './places.ts';
import { privacyPlan, privacyRecord, privateBatch, privateLearner } from './private.ts';
import { regularised } from './regulariser.ts';

/**
 * The model linearised about its weights w: f(x; w) + J(x) D, J the Jacobian of the output with respect to the weights, D
 * one trained tangent per chosen array. Weights become duals `w + eps D` and every op downstream computes both parts; the
 * output is their sum, affine in D. D starts at zero, which is the base bit for bit. Liu et al. 2023, arXiv 2307.08122.
 *
 * The base is whatever is in force at a place: the pretrained weights under frozen plugins such as a new head. Directions that
 * cannot change the output get no tangent.
 * @throws SelectionError when nothing is selected. @throws OptionsError for options that contradict each other.
 * `adapt` throws a ConflictError for another plugin that is trainable, unless `beside` allows it.
 */
export const tangent = definePlugin({
  name: 'tangent',
  version: '0.1.0',
  hookApi: '1.0',
  options,
  commands,
  linearises: ({ beside }) => beside === 'frozen',
  dropout: ({ dropout }) => dropout,
  privately: (adapted, instance, wanted) => {
    const plan = privacyPlan(wanted);
    return {
      batch: () => privateBatch(plan),
      learner: ({ loss, score }) => privateLearner(adapted, plan, { instance, loss, ...(score && { score }) }),
      statement: (steps) => ({ ...privacyRecord(plan, steps) }),
    };
  },
  attach(host, given) {
    const tangents: ParameterPoint[] = [];
    const variable = (path: string, shape: readonly number[]) => {
      const made = host.variable(path, shape, zeros);
      tangents.push(made);
      return made;
    };
    const places = linearisedBy(host, given);
    const hooks: Hook[] = given.reinit ? drawnAnew(host, places) : [];
    for (const { at, arrays } of places) {
      const own = new Map([...arrays].map(([part, shape]) => [part, variable(`${at.path}.${part}`, shape)]));
      hooks.push(weight(at as WeightPoint<Params>, (p, step) => mapParams(p, (x, part) => moved(x, own.get(part), step))));
    }
    for (const instance of given.of ?? []) {
      const points = host.parameters(instance);
      if (!points.length) throw new SelectionError(`'tangent' option 'of' names '${instance}', which has no variables here.${didYouMean(instance, [])} Attach that plugin before tangent, frozen: { trainable: false }.`);
      for (const p of points) {
        const own = variable(p.path, p.variable.shape);
        hooks.push(weight(p, ({ value }, step) => ({ value: moved(value, own, step) })));
      }
    }
    if (given.replaceCls) hooks.push(replacedToken(host, given.lastK, variable));
    return given.lambda > 0 ? [...hooks, ...regularised(host, given.regulariser, given.lambda, tangents)] : hooks;
  },
});

/** w + eps D. Several tangents of one array add up. */
function moved(x: Value, by: ParameterPoint | undefined, step: Step): Value {
  if (!by) return x;
  const d = primal(step.read(by));
  const before = tangentOf(x);
  return dual(primal(x), before ? tf.add(before, d) : d);
}
