import * as tf from '@tensorflow/tfjs';
import { adapt, Dual, evaluate, finish, kaiming, mapParams, matMul, normal, primal, random, startStep, tangentOf, tidy, totalMacs, value, weight, withLowRank, zeros, type Params, type Plugin, type WeightPoint } from '@espalier/core';
import { afterAll, describe, expect, it } from 'vitest';
import { inline } from './inline.ts';
import { TINY_SIZES, type TinyInputs } from './inputs.ts';
import type { TinyModel } from './tiny.ts';
import { tinyModels } from './tiny-models.ts';

const { one, two, inputs } = await tinyModels(afterAll);

/** The forward pass of the one-stream model, written in TensorFlow.js alone. */
function byHand(w: ReadonlyMap<string, tf.Tensor>, { ids, segments, textMask, features, boxes, visionMask }: TinyInputs): tf.Tensor {
  const get = (path: string) => w.get(path)!;
  const linear = (path: string, x: tf.Tensor) => {
    const kernel = get(`${path}.kernel`);
    const y = tf.add(tf.matMul(tf.reshape(x, [-1, x.shape.at(-1)!]), kernel), get(`${path}.bias`));
    return tf.reshape(y, [...x.shape.slice(0, -1), kernel.shape[1]!]);
  };
  const norm = (path: string, x: tf.Tensor) => {
    const centred = tf.sub(x, tf.mean(x, -1, true));
    const inverse = tf.rsqrt(tf.add(tf.mean(tf.square(centred), -1, true), 1e-12));
    return tf.add(tf.mul(tf.mul(centred, inverse), get(`${path}.gamma`)), get(`${path}.beta`));
  };
  const gelu = (x: tf.Tensor) => tf.mul(x, tf.mul(tf.add(tf.erf(tf.mul(x, Math.SQRT1_2)), 1), 0.5));
  const rows = (path: string, index: tf.Tensor) => tf.reshape(tf.gather(get(path), tf.reshape<tf.Rank.R1>(index, [-1])), [...index.shape, 16]);
  const heads = (x: tf.Tensor) => tf.transpose(tf.reshape(x, [x.shape[0]!, x.shape[1]!, 2, 8]), [0, 2, 1, 3]);

  const [batch, tokens] = ids.shape;
  const regions = features.shape[1];
  const full = (n: number, row: number) => tf.fill([batch, n], row, 'int32');
  const seen = tf.add(tf.add(linear('joint.embed.vision', features), linear('joint.embed.boxes', boxes)), rows('joint.embed.regions.table', full(regions, 0)));
  const tokensIn = tf.concat([rows('joint.embed.words.table', ids), seen, rows('joint.embed.end.table', full(1, 0))], 1);
  const at = tf.concat([tf.tile(tf.reshape(tf.range(0, tokens, 1, 'int32'), [1, tokens]), [batch, 1]), full(regions, TINY_SIZES.positions - 2), full(1, TINY_SIZES.positions - 1)], 1);
  const kind = tf.concat([segments, full(regions + 1, TINY_SIZES.segments - 1)], 1);
  const sum = tf.add(tf.add(tokensIn, rows('joint.embed.positions.table', at)), rows('joint.embed.segments.table', kind));
  const mask = tf.concat([textMask, visionMask, tf.ones([batch, 1])], 1);
  let x = norm('joint.embed.norm', sum);
  const hide = tf.mul(tf.sub(1, tf.reshape(mask, [batch, 1, 1, mask.shape[1]!])), -10_000);
  for (const block of ['joint.0', 'joint.1']) {
    const [q, k, v] = ['query', 'key', 'value'].map((name) => heads(linear(`${block}.attention.${name}`, x))) as [tf.Tensor, tf.Tensor, tf.Tensor];
    const p = tf.softmax(tf.add(tf.mul(tf.matMul(q, k, false, true), 1 / Math.sqrt(8)), hide));
    const context = tf.reshape(tf.transpose(tf.matMul(p, v), [0, 2, 1, 3]), x.shape);
    const y = norm(`${block}.attention.norm`, tf.add(linear(`${block}.attention.output`, context), x));
    x = norm(`${block}.ffn.norm`, tf.add(linear(`${block}.ffn.down`, gelu(linear(`${block}.ffn.up`, y))), y));
  }
  const first = tf.reshape(tf.slice(x, [0, 0, 0], [-1, 1, -1]), [-1, 16]);
  const pooled = tf.tanh(linear('head.pooler', first));
  return linear('head.down', norm('head.norm', gelu(linear('head.up', pooled))));
}

describe('a model without plugins', () => {
  it('runs the kernels of the same forward pass written by hand, no more and no less', async () => {
    const plan = adapt(one, []).plan;
    const step = startStep(plan, inputs, 3);
    const kernels = async (f: () => tf.Tensor) => {
      const outputs: Float32Array[] = [];
      const profile = await tf.profile(() =>
        tf.tidy(() => {
          const y = f();
          outputs.push(y.dataSync<'float32'>().slice());
          return [];
        }),
      );
      // Which kernel, on what, giving what.
      // A node with a gradient of its own is profiled beside the kernels inside it, under this name.
      const list = profile.kernels.filter((k) => k.name !== 'unnamed scope').map((k) => `${k.name} ${JSON.stringify(k.inputShapes)} -> ${JSON.stringify(k.outputShapes)}`);
      return { list, output: outputs[0]! };
    };
    const [ours, hand] = [await kernels(() => evaluate(one.forward(inputs, step))), await kernels(() => byHand(one.tensors, inputs))];
    finish(step);
    expect(ours.output).toEqual(hand.output);
    expect(ours.list).toEqual(hand.list);
    expect(ours.list.filter((k) => k.includes('MatMul')).length).toBe(2 + 2 * 8 + 3);
  });
});

describe('accounts', () => {
  const sequence = 5 + 3 + 1; // tokens, regions, end
  const block = (t: number) => 4 * t * 16 * 16 + 2 * (t * t * 16) + 2 * t * 16 * 32; // projections, scores and context, feed-forward
  const head = 16 * 16 + 16 * 32 + 32 * 3;
  const source = 3 * (6 + 4) * 16;
  const by = async (model: TinyModel, plugins: Plugin[] = [], options = {}) => {
    const adapted = adapt(model, plugins);
    const rows = await adapted.account(inputs, options);
    adapted.dispose();
    return Object.fromEntries(rows.map((r) => [`${r.place}|${r.instance}`, r.macs]));
  };
  const lowRank = (name: string) =>
    inline(name, (host) =>
      host.linears({ role: 'attention.query' }).map((w) => {
        const [a, b] = [host.variable(`${w.path}.a`, [w.in, 2], kaiming), host.variable(`${w.path}.b`, [2, w.out], zeros)];
        return weight(w, (p, step) => withLowRank(p, step.read(a), step.read(b)));
      }),
    );

  it('are the numbers one counts by hand, by block', async () => {
    expect(await by(one)).toEqual({ 'joint.embed|': source, 'joint.0|': block(sequence), 'joint.1|': block(sequence), '|': head });
    const [text, vision] = [5, 3];
    const cross = 4 * (text + vision) * 16 * 16 + 2 * 2 * (text * vision * 16);
    expect(await by(two)).toEqual({
      'vision.embed|': source, 'text.0|': block(text), 'vision.0|': block(vision), '|': head,
      'cross.0|': cross + block(text) + block(vision), 'cross.1|': cross + block(text) + block(vision),
    });
  });

  it('book a low-rank update to its plugin, where it runs', async () => {
    const own = sequence * (16 * 2 + 2 * 16);
    const rows = await by(one, [lowRank('a'), lowRank('b')]);
    expect(rows).toEqual({
      'joint.embed|': source, 'joint.0|': block(sequence), 'joint.1|': block(sequence), '|': head,
      'joint.0|a': own, 'joint.0|b': own, 'joint.1|a': own, 'joint.1|b': own,
    });
    expect(await by(one, [lowRank('a')], { variant: 'pretrained' })).toEqual(await by(one));
  });

  it('count once a step what is made once a step', async () => {
    const generated = inline('generated', (host) =>
      host.linears({ role: 'ffn.up' }).map((w) => {
        const p = host.variable(`${w.path}.p`, [2, 16], normal(1));
        const q = host.variable(`${w.path}.q`, [16, 2], zeros);
        return weight(w, (params, step) => withLowRank(params, step.read(q), matMul(step.read(p), params.kernel)));
      }),
    );
    const made = (2 * 16 * 32) / 3; // once for a batch of three
    expect((await by(one, [generated]))['joint.0|generated']).toBeCloseTo(made + sequence * (16 * 2 + 2 * 32), 6);
  });

  it('sum up and can be filtered; a failing forward pass leaves the profiler off', async () => {
    const rows = await adapt(one, []).account(inputs);
    expect(totalMacs(rows)).toBe(source + 2 * block(sequence) + head);
    expect(totalMacs(rows, (r) => r.place === 'joint.1')).toBe(block(sequence));
    const fails = inline('fails', (host) => host.sites({ role: 'pooled' }).map((site) => value(site, () => { throw new Error('no'); })));
    await expect(adapt(one, [fails]).account(inputs)).rejects.toThrow('no');
    expect(tf.engine().state.profiling).toBe(false);
  });
});

describe('dual weights', () => {
  it.each([['one stream', () => one], ['two streams', () => two]] as const)('give the JVP of the whole model: %s', async (_, model) => {
    const before = tf.memory().numTensors;
    const directions = new Map([...model().tensors].map(([path, t]) => {
      const generator = random('dual', path);
      return [path, tf.tensor(Float32Array.from({ length: t.size }, () => 0.02 * generator.normal()), t.shape)];
    }));
    /** Every array as W + e D, or as the dual W + eps D. */
    const moved = (by: (x: tf.Tensor, d: tf.Tensor) => Dual | tf.Tensor) =>
      inline('moved', (host) =>
        host.weights().map((at) => weight(at as WeightPoint<Params>, (p) => mapParams(p, (x, part) => by(primal(x), directions.get(`${at.path}.${part}`)!)), { mode: 'replace' })),
      );
    const output = (by: (x: tf.Tensor, d: tf.Tensor) => Dual | tf.Tensor) => {
      const step = startStep(adapt(model(), [moved(by)]).plan, inputs, 3);
      const y = tidy(() => model().forward(inputs, step));
      finish(step);
      return y;
    };
    const y = output((x, d) => new Dual(x, d));
    const jvp = tangentOf(y)!;
    const error = (e: number) => {
      const [up, down] = [primal(output((x, d) => tf.add(x, tf.mul(d, e)))), primal(output((x, d) => tf.sub(x, tf.mul(d, e))))];
      const worst = tf.tidy(() => tf.max(tf.abs(tf.sub(tf.div(tf.sub(up, down), 2 * e), jvp))).dataSync()[0]!);
      tf.dispose([up, down]);
      return worst;
    };
    const errors = [0.4, 0.2, 0.1, 0.05].map(error);
    const size = tf.tidy(() => tf.max(tf.abs(jvp)).dataSync()[0]!);
    expect(size).toBeGreaterThan(0.05);
    expect(errors.at(-1)).toBeLessThan(0.01 * size);
    for (let i = 1; i < errors.length; i++) expect(errors[i]! / errors[i - 1]!).toBeLessThan(0.33);
    tf.dispose([primal(y), jvp, ...directions.values()]);
    expect(tf.memory().numTensors).toBe(before);
  });
});
