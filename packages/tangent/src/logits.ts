import * as tf from '@tensorflow/tfjs';
import type { Adapted } from '@espalier/core';
import { setTangents, tangentsOf, type Component, type HostArray } from './component.ts';

/** What components say of the same samples. All arrays are [B, A] and the caller's to dispose. */
export interface ComponentLogits {
  readonly base: tf.Tensor; // f(x; w)
  readonly of: ReadonlyMap<string, tf.Tensor>; // f(x; w) + J D of each component, by id
}

/**
 * The outputs of components one by one, from a single pass through the frozen model: only derivative parts are computed for each.
 * The model's own tangents are what they were afterwards. @throws CheckpointError for tangents that are not the model's.
 */
export async function componentLogits<I>(adapted: Adapted<I>, inputs: I, components: readonly Component[], instance = 'tangent'): Promise<ComponentLogits> {
  const before = new Map<string, HostArray>();
  for (const p of tangentsOf(adapted, instance)) before.set(p.path.slice(instance.length + 1), { shape: p.variable.shape, data: (await p.variable.data<'float32'>()).slice() });
  const trace = await adapted.trace(inputs);
  const of = new Map<string, tf.Tensor>();
  const held: { base?: tf.Tensor } = {};
  try {
    setTangents(adapted, new Map([...before].map(([name, { shape, data }]) => [name, { shape, data: new Float32Array(data.length) }])), instance);
    held.base = await adapted.forward(inputs, { trace });
    for (const { id, tensors } of components) {
      setTangents(adapted, tensors, instance);
      of.set(id, await adapted.forward(inputs, { trace }));
    }
    return { base: held.base, of };
  } catch (e) {
    tf.dispose([...of.values(), ...(held.base ? [held.base] : [])]);
    throw e;
  } finally {
    trace.dispose();
    setTangents(adapted, before, instance);
  }
}
