import * as tf from '@tensorflow/tfjs';
import { adapt, type LinearRole } from '@espalier/core';
import { gift } from '@espalier/gift';
import { lora } from '@espalier/lora';
import { jitter, tinyOneStream, toBeAllClose, useCpu } from '@espalier/testing';
import { tune } from '@espalier/tune';
import { beforeAll, describe, expect, it } from 'vitest';

beforeAll(useCpu);

const role: LinearRole = 'attention.output';
const path = 'joint.0.attention.output';

describe('GIFT beside other methods at the same weight', () => {
  const scale = { gift: () => gift({ rank: 4, at: { role } }), lora: () => lora({ rank: 2, alpha: 6, at: { role } }), tune: () => tune({ at: { role } }) };
  it.each([
    [['gift', 'lora']], [['lora', 'gift']], [['gift', 'tune']], [['tune', 'gift']], [['lora', 'gift', 'tune']],
  ] as const)('%j: a replacement first, then W (I + phi psi), then s A B', async (names) => {
    const model = tinyOneStream();
    const adapted = adapt(model, names.map((name) => scale[name]()));
    jitter(adapted);
    const merged = await adapted.merge();
    const before = tf.memory().numTensors;
    tf.tidy(() => {
      const v = (name: string) => adapted.parameters.get(name)?.variable;
      const [phi, psi, a, b] = [v(`gift/joint.${role}.phi`)!, v(`gift/joint.${role}.psi`)!, v(`lora/${path}.a`), v(`lora/${path}.b`)];
      const w = v(`tune/${path}.kernel`) ?? model.tensors.get(`${path}.kernel`)!;
      const scaled = tf.add(w, tf.matMul(tf.transpose(tf.matMul(phi, psi)), w));
      toBeAllClose(merged.get(`${path}.kernel`)!, a && b ? tf.add(scaled, tf.mul(3, tf.matMul(a, b))) : scaled, { relative: 1e-5 });
    });
    expect(tf.memory().numTensors).toBe(before);
    tf.dispose([...merged.values()]);
    adapted.dispose();
    model.dispose();
  });
});
