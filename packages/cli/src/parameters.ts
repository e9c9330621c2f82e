import { entriesOf, weightsOf, type Adapted } from '@espalier/core';

/** What one plugin instance owns. */
export interface InstanceParameters {
  readonly instance: string;
  readonly parameters: number;
  readonly bytes: number; // float32
  readonly trainable: boolean;
  readonly groups: Readonly<Record<string, number>>; // parameters by optimiser group
}

export interface ParameterCounts {
  readonly trainable: number;
  readonly total: number; // of the adapted model; a frozen array that a variable of the same name stands in for is not counted
  readonly frozen: number; // of the backbone
  readonly instances: readonly InstanceParameters[];
}

/** How many parameters a model has, whose they are, and how many of them move. */
export function countParameters<I>(adapted: Adapted<I>): ParameterCounts {
  const sizeOf = (shape: readonly number[]) => shape.reduce((a, b) => a * b, 1);
  const sum = (numbers: readonly number[]) => numbers.reduce((a, b) => a + b, 0);
  const instances = adapted.plugins.map(({ instance, trainable }): InstanceParameters => {
    const own = [...adapted.parameters.values()].filter((p) => p.instance === instance);
    const groups: Record<string, number> = {};
    for (const p of own) groups[p.group] = (groups[p.group] ?? 0) + p.variable.size;
    const parameters = sum(own.map((p) => p.variable.size));
    return { instance, parameters, bytes: 4 * parameters, trainable, groups };
  });
  const standIns = new Set([...adapted.parameters.values()].map((p) => p.path.slice(p.instance.length + 1)));
  const arrays = weightsOf(adapted.model.scope).flatMap((at) => entriesOf(at.pretrained).map(([part, x]) => ({ path: `${at.path}.${part}`, size: sizeOf(x.shape) })));
  const frozen = sum(arrays.map((a) => a.size));
  return {
    trainable: sum(adapted.trainable.map((p) => p.variable.size)),
    total: sum(arrays.filter((a) => !standIns.has(a.path)).map((a) => a.size)) + sum(instances.map((i) => i.parameters)),
    frozen,
    instances,
  };
}
