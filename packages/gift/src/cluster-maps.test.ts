import * as tf from '@tensorflow/tfjs';
import { adapt, EspalierError, readings, startStep, finish, type Adapted, type Plugin } from '@espalier/core';
import { adapter, jitter, tinyModels, toBeAllClose, toDiffer, toLeakNothing, toRefuse, train, type TinyInputs, type TinyModel } from '@espalier/testing';
import { afterAll, afterEach, describe, expect, it } from 'vitest';
import { clusterMaps, type Scores } from './cluster-maps.ts';
import { gift } from './gift.ts';

const { one, two, inputs } = await tinyModels(afterAll);
const held: Adapted<TinyInputs>[] = [];
afterEach(() => held.splice(0).forEach((x) => x.dispose()));
const put = (model: TinyModel, ...plugins: Plugin[]) => {
  const adapted = adapt(model, plugins);
  held.push(adapted);
  return adapted;
};
const flat = (scores: Scores) => scores.flat().flatMap((row) => [...row]);

describe('T11: cluster maps', () => {
  it('cover every use of every adapted linear, one per cluster, token and sample', async () => {
    const maps = await clusterMaps(put(two, gift({ rank: 4 })), inputs);
    expect(maps.map(({ site, stream, block, clusters, tokens }) => [site, stream, block, clusters, tokens].join(' '))).toEqual([
      'text.0.attention.output text 0 4 5',
      'vision.0.attention.output vision 1 4 3',
      'cross.0.cross.text.output text 2 4 5',
      'cross.0.cross.vision.output vision 2 4 3',
      'cross.0.text.attention.output text 2 4 5',
      'cross.0.vision.attention.output vision 2 4 3',
      'cross.1.cross.text.output text 3 4 5',
      'cross.1.cross.vision.output vision 3 4 3',
      'cross.1.text.attention.output text 3 4 5',
      'cross.1.vision.attention.output vision 3 4 3',
    ]);
    for (const { before, after, pretrained } of maps) for (const s of [before, after, pretrained]) expect([s.length, s[0]!.length]).toEqual([3, 4]);
    const some = await clusterMaps(put(one, gift({ generator: 'paca', rank: 4, clusters: 6 })), inputs, { at: { block: [1, 2] } });
    expect(some.map(({ site, clusters, tokens }) => [site, clusters, tokens])).toEqual([['joint.1.attention.output', 6, 9]]);
  });

  it.each(['linear', 'paca', 'paca-attention', 'mlp'] as const)('are the same before and after at the start, and differ when trained: %s', async (generator) => {
    const adapted = put(one, gift({ generator, rank: 4, ...(generator.startsWith('paca') && { clusters: 5, depth: 2 }) }));
    for (const { before, after, pretrained } of await clusterMaps(adapted, inputs)) {
      toBeAllClose(flat(after), flat(before), { relative: 1e-6 });
      toBeAllClose(flat(after), flat(pretrained), { relative: 1e-6 });
    }
    await train(adapted, inputs, 5, { rate: 0.3 });
    const [first, second] = await clusterMaps(adapted, inputs);
    toDiffer(flat(first!.after), flat(first!.before), 1e-3);
    toBeAllClose(flat(first!.before), flat(first!.pretrained), { relative: 1e-6 }, 'what enters the first place is the same as in the pretrained model');
    toDiffer(flat(second!.before), flat(second!.pretrained), 1e-3);
  });

  it('are y C, with y the output of the linear and its bias, and C = W phi', async () => {
    const adapted = put(one, gift({ rank: 4 }));
    jitter(adapted);
    const path = 'joint.1.attention.output';
    let y = new Float32Array();
    const step = startStep(adapted.plan, inputs, 3, { observe: (site, x) => void (site.path === path && x instanceof tf.Tensor && (y = Float32Array.from(x.dataSync<'float32'>()))) });
    tf.tidy(() => void adapted.model.forward(inputs, step));
    finish(step);
    const phi = adapted.parameters.get('gift/joint.attention.output.phi')!.variable;
    const expected = tf.tidy(() => {
      const c = tf.matMul(one.tensors.get(`${path}.kernel`)!, phi, true); // [out, r]
      return tf.transpose(tf.reshape(tf.matMul(tf.tensor2d(y, [27, 16]), c), [3, 9, 4]), [0, 2, 1]).dataSync();
    });
    const [map] = await clusterMaps(adapted, inputs, { at: { path } });
    toBeAllClose(flat(map!.after), expected, { relative: 1e-6 });
  });

  it('are what readouts give to whoever shows them, at the output and the input of a linear', async () => {
    const found = await readings(put(one, gift({ generator: 'paca', rank: 4, clusters: 2, at: { block: [0, 1], role: 'attention.output' } })), inputs);
    expect(found.map(({ variant, path, labels }) => [variant, path, ...labels].join(', '))).toEqual(
      ['adapted', 'pretrained'].flatMap((variant) => [
        `${variant}, joint.0.attention.output.input, cluster 0 before, cluster 1 before`,
        `${variant}, joint.0.attention.output, cluster 0, cluster 1`,
      ]),
    );
  });

  it('leak nothing, stand beside other plugins, and name what is not there', async () => {
    const adapted = put(two, adapter(), gift({ rank: 4, generator: 'paca', clusters: 3 }, { as: 'a' }));
    await toLeakNothing(() => clusterMaps(adapted, inputs, { instance: 'gift#a' }));
    await toRefuse(() => clusterMaps(adapted, inputs), EspalierError, "no gift 'gift' here", 'gift#a');
    await toRefuse(() => clusterMaps(adapted, inputs, { instance: 'adapter' }), EspalierError, "no gift 'adapter'");
  });
});
