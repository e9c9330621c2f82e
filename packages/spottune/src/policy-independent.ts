import { constant, copyOf, evaluate, normal, ones, RefusedError, xavier, zeros, type Host, type Initializer, type ParameterPoint } from '@espalier/core';
import { GROUP, type Policy } from './policy.ts';
import type { PolicyOptions } from './policy-options.ts';

type IndependentOptions = Extract<PolicyOptions, { kind: 'independent' }>;

/**
 * A small model of the backbone's own architecture over the same inputs, whose answers are the logits; all of its arrays
 * are variables of the policy. Kernels and tables start N(0, 0.02^2), the answer layer's kernel at zero, its bias as given.
 * @throws RefusedError when the model cannot build one.
 */
export function independentPolicy({ model, variable }: Host, { changes, init, visualGain }: IndependentOptions, bias: Float32Array): Policy {
  if (!model.build) throw new RefusedError(`an independent policy is a small '${model.name}', which has no build(outputs, tensors). Use policy: { kind: 'trunk' }.`);
  const parameters: ParameterPoint[] = [];
  const start = (path: string): Initializer => {
    if (path === 'head.down.kernel') return init === 'xavier' ? xavier : zeros;
    if (path === 'head.down.bias') return copyOf(bias);
    if (/\bvision\.norm\.gamma$/.test(path)) return constant(visualGain);
    if (path.endsWith('.gamma')) return ones;
    return /\.(bias|beta)$/.test(path) ? zeros : normal(0.02);
  };
  const own = model.build(bias.length, (path, shape) => {
    const point = variable(`policy.${path}`, shape, start(path), GROUP);
    parameters.push(point);
    return point.variable;
  }, changes);
  return {
    parameters,
    common: false,
    prepare: (step) => {
      // Its places are called like the backbone's: another seed keeps their dropout apart.
      const bare = step.bare().fork({ seed: ~step.shared.seed });
      return () => evaluate(own.forward(step.inputs, bare));
    },
  };
}
