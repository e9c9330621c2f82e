import * as tf from '@tensorflow/tfjs';
import { adapt, CheckpointError, weightsOf, type StoredTensor } from '@espalier/core';
import { beforeAll, describe, expect, it } from 'vitest';
import { assertComplete, backbone, backbones, disposeModel, fromCheckpoint, initialised, toCheckpoint } from './index.ts';

beforeAll(async () => {
  await tf.setBackend('cpu');
});

async function checkpointOf(name: string) {
  const kind = backbone(name);
  const model = kind.build(kind.sizes.tiny, initialised(1));
  const adapted = adapt(model, []);
  const merged = await adapted.merge();
  const arrays = await toCheckpoint(merged, kind.keyOf);
  tf.dispose([...merged.values()]);
  return { kind, model, tensors: new Map([...arrays].map(([k, t]): [string, StoredTensor] => [k, { ...t, dtype: 'F32' }])) };
}

describe.each([...backbones.keys()])('a checkpoint of %s', (name) => {
  it('comes back as it was written, under one key for each array', async () => {
    const { kind, model, tensors } = await checkpointOf(name);
    const { source, report } = fromCheckpoint(tensors, kind.keyOf, 'file');
    const again = kind.build(kind.sizes.tiny, source);
    assertComplete(report(), 'file', kind.ignore);
    expect(report().loaded.length).toBe(new Set(report().loaded).size);
    expect(await adapt(again, []).fingerprint()).toBe(await adapt(model, []).fingerprint());
    expect(weightsOf(again.scope).length).toBe(weightsOf(model.scope).length);
    disposeModel(model.scope);
    disposeModel(again.scope);
  });

  it('that lacks a tensor, has a foreign one, or one of another shape is refused by name', async () => {
    const { kind, model, tensors } = await checkpointOf(name);
    disposeModel(model.scope);
    const [first] = tensors.keys();
    const without = new Map(tensors);
    without.delete(first!);
    without.set('stranger.weight', { dtype: 'F32', shape: [1], data: new Float32Array(1) });
    const partial = fromCheckpoint(without, kind.keyOf, 'cut.safetensors');
    disposeModel(kind.build(kind.sizes.tiny, partial.source).scope);
    expect(() => assertComplete(partial.report(), 'cut.safetensors', [])).toThrow(CheckpointError);
    expect(() => assertComplete(partial.report(), 'cut.safetensors', [])).toThrow(first!);
    expect(() => assertComplete(partial.report(), 'cut.safetensors', [])).toThrow('stranger.weight');
    const misshapen = new Map(tensors).set(first!, { dtype: 'F32', shape: [3, 1], data: new Float32Array(3) });
    expect(() => kind.build(kind.sizes.tiny, fromCheckpoint(misshapen, kind.keyOf, 'odd.safetensors').source)).toThrow(/odd\.safetensors: .* has shape \[3, 1\], the model expects/);
  });
});

describe('names of backbones', () => {
  it('are suggested', () => {
    expect(() => backbone('lxmerd')).toThrow("Did you mean 'lxmert'");
  });
});
