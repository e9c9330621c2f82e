import { readFileSync } from 'node:fs';
import * as tf from '@tensorflow/tfjs';
import { memoryCheckpoint } from '@espalier/checkpoints';
import { adapt, definePlugin, evaluate, mapParams, primal, readSafetensors, tensorsIn, weight, type Hook, type ModelWeight, type Params, type Value } from '@espalier/core';
import { useCpu, useOnnx } from '@espalier/testing';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { backbone, disposeModel, loadModel } from './index.ts';

/*
 * Expected values are float64 results of the reference models with tiny random weights; tolerances are those of float32
 * noise: 1e-5 on hidden states and logits, 1e-6 on embeddings, 1e-4 relative on gradients.
 */

/** Trains copies of all weights, to see every gradient. */
const everything = definePlugin({
  name: 'everything',
  version: '1.0.0',
  hookApi: '1.0',
  options: z.strictObject({}),
  attach: (host) =>
    host.weights().map((at: ModelWeight): Hook => {
      const copies = new Map<string, ReturnType<typeof host.variable>>();
      mapParams<Params>(at.pretrained, (x, part) => {
        const values = primal(x).dataSync<'float32'>();
        copies.set(part, host.variable(`${at.path}.${part}`, x.shape, () => Float32Array.from(values)));
        return x;
      });
      return weight<Params>(at, (p, step) => mapParams<Params>(p, (_, part) => step.read(copies.get(part)!)), { mode: 'replace' });
    }),
});

interface Expected {
  readonly config: { readonly loss0: number };
  readonly io: ReturnType<typeof readSafetensors>['tensors'];
}

async function golden(kind: string, folder: string, changes: object = {}) {
  const read = (name: string) => readFileSync(new URL(`../fixtures/${folder}/${name}`, import.meta.url));
  const Config = z.looseObject({ loss0: z.number().default(NaN), hidden_dropout_prob: z.number().default(0), attention_probs_dropout_prob: z.number().default(0) });
  const config = Config.parse(JSON.parse(read('config.json').toString()));
  const { tensors: io } = readSafetensors(read('io.safetensors'), 'io');
  const checkpoint = memoryCheckpoint(readSafetensors(read('model.safetensors'), 'model').tensors, folder);
  const kindOf = backbone(kind);
  const { model } = await loadModel(kindOf, { ...config, ...changes }, checkpoint);
  return { model, inputs: kindOf.inputsFrom(io, config), golden: { config, io }, kind: kindOf, config };
}

type Golden = Awaited<ReturnType<typeof golden>>;

async function sitesOf(model: Golden['model'], inputs: unknown) {
  const seen = new Map<string, { shape: number[]; values: Float32Array }>();
  const observe = (site: { path: string }, x: Value) =>
    void seen.set(site.path, { shape: x.shape, values: evaluate(x).dataSync<'float32'>() });
  const adapted = adapt(model, []);
  const logits = await adapted.forward(inputs, { observe });
  seen.set('output', { shape: logits.shape, values: logits.dataSync<'float32'>() });
  logits.dispose();
  return seen;
}

/** The largest difference from a golden array, over rows where `mask` is 1 when given. */
function difference(got: Float32Array, { io }: Expected, name: string, mask?: string): number {
  const want = io.get(name)!;
  const seen = mask === undefined ? undefined : io.get(mask)!;
  expect(got.length).toBe(want.data.length);
  const width = seen ? want.data.length / seen.data.length : 1;
  let worst = 0;
  for (let i = 0; i < got.length; i++) {
    if (seen && !Number(seen.data[Math.floor(i / width)])) continue;
    worst = Math.max(worst, Math.abs(got[i]! - Number(want.data[i])));
  }
  return worst;
}

const bce = (logits: tf.Tensor, targets: tf.Tensor): tf.Scalar => {
  const each = tf.add(tf.sub(tf.relu(logits), tf.mul(logits, targets)), tf.log1p(tf.exp(tf.neg(tf.abs(logits)))));
  return tf.div(tf.sum(each), logits.shape[0]!) as tf.Scalar;
};

/** Gradients of the loss towards every named checkpoint tensor the golden file holds. */
async function gradientErrors({ model, inputs, golden: g }: Golden, recompute: boolean) {
  const adapted = adapt(model, [everything()]);
  const labels = g.io.get('labels')!;
  const targets = tf.tensor(Float32Array.from(labels.data, Number), [...labels.shape]);
  const learned = await adapted.learn(inputs, (output) => bce(output, targets), { training: true, recompute });
  const errors = new Map<string, number>();
  for (const [name, gradient] of learned.gradients) {
    const path = name.slice('everything/'.length);
    const want = g.io.get(`grad:${model.keyOf(path)}`);
    if (!want) continue;
    const got = (path.endsWith('.kernel') ? tf.tidy(() => tf.transpose(gradient).dataSync<'float32'>()) : gradient.dataSync<'float32'>());
    const values: ArrayLike<number | bigint> = want.data;
    const scale = Math.max(...Array.from(values, (x) => Math.abs(Number(x))));
    errors.set(name, difference(got, g, `grad:${model.keyOf(path)}`) / scale);
  }
  const loss = learned.loss.dataSync()[0]!;
  learned.dispose();
  targets.dispose();
  adapted.dispose();
  return { errors, loss };
}

// cpu sums in double precision; what sums in single precision is off by a rounding of the largest entries, which are about 3.
describe.each([['cpu', useCpu, 1e-6], ['onnx', useOnnx, 3e-6]] as const)('on %s', (_, use, embedding) => {
  beforeAll(use);
  afterAll(useCpu);

  describe('lxmert', () => {
    let g: Golden;
    beforeAll(async () => {
      g = await golden('lxmert', 'lxmert-tiny');
    });
    afterAll(() => disposeModel(g.model.scope));

    it('gives the reference its hidden states and logits', async () => {
      const seen = await sitesOf(g.model, { ...Object(g.inputs), visualAttentionMask: undefined });
      const at = (path: string) => seen.get(path)!.values;
      expect(difference(at('text.embed.output'), g.golden, 'emb')).toBeLessThan(embedding);
      expect(difference(at('vision.embed.output'), g.golden, 'visn_emb')).toBeLessThan(embedding);
      ['text.0', 'text.1', 'cross.0.text', 'cross.1.text'].forEach((p, i) => expect(difference(at(`${p}.output`), g.golden, `lang.${i}`)).toBeLessThan(1e-5));
      ['vision.0', 'cross.0.vision', 'cross.1.vision'].forEach((p, i) => expect(difference(at(`${p}.output`), g.golden, `vis.${i}`)).toBeLessThan(1e-5));
      expect(difference(at('cross.0.cross.text.probabilities'), g.golden, 'cross_att.0')).toBeLessThan(1e-6);
      expect(difference(at('head.pooled'), g.golden, 'pooled')).toBeLessThan(1e-5);
      expect(difference(at('output'), g.golden, 'logits')).toBeLessThan(1e-5);
    });

    it('hides masked regions', async () => {
      const seen = await sitesOf(g.model, g.inputs);
      expect(difference(seen.get('head.pooled')!.values, g.golden, 'pooled_vmask')).toBeLessThan(1e-5);
      expect(difference(seen.get('output')!.values, g.golden, 'logits_vmask')).toBeLessThan(1e-5);
    });

    it.each([false, true])('gives the reference its loss and gradients (recompute: %s)', async (recompute) => {
      const { errors, loss } = await gradientErrors({ ...g, inputs: { ...Object(g.inputs), visualAttentionMask: undefined } }, recompute);
      expect(Math.abs(loss / g.golden.config.loss0 - 1)).toBeLessThan(1e-5);
      expect(errors.size).toBe(5);
      for (const [name, error] of errors) expect(error, name).toBeLessThan(1e-4);
    });

    it('leaves the dead branch out with equal logits', async () => {
      const { model: skipping } = await golden('lxmert', 'lxmert-tiny', { skip_dead_branch: true });
      const seen = await sitesOf(skipping, g.inputs);
      expect(difference(seen.get('output')!.values, g.golden, 'logits_vmask')).toBeLessThan(1e-5);
      expect(seen.has('cross.1.vision.ffn.hidden')).toBe(false);
      disposeModel(skipping.scope);
    });
  });

  describe('vl-bert', () => {
    let g: Golden;
    beforeAll(async () => {
      g = await golden('vl-bert', 'vlbert-tiny');
    });
    afterAll(() => disposeModel(g.model.scope));

    it('gives the reference its hidden states and logits', async () => {
      const seen = await sitesOf(g.model, g.inputs);
      const at = (path: string) => seen.get(path)!.values;
      expect(difference(at('joint.embed.output'), g.golden, 'hidden.0', 'mask')).toBeLessThan(embedding);
      expect(difference(at('joint.0.output'), g.golden, 'hidden.1', 'mask')).toBeLessThan(1e-5);
      expect(difference(at('joint.1.output'), g.golden, 'hidden.2', 'mask')).toBeLessThan(1e-5);
      expect(difference(at('head.pooled'), g.golden, 'answer_state')).toBeLessThan(1e-5);
      expect(difference(at('output'), g.golden, 'logits')).toBeLessThan(1e-5);
    });

    it.each([false, true])('gives the reference its loss and gradients (recompute: %s)', async (recompute) => {
      const { errors, loss } = await gradientErrors(g, recompute);
      expect(Math.abs(loss / g.golden.config.loss0 - 1)).toBeLessThan(1e-5);
      expect(errors.size).toBe(5);
      for (const [name, error] of errors) expect(error, name).toBeLessThan(1e-4);
    });
  });

  describe('visual-bert', () => {
    it.each([0, 1])('gives the reference its hidden states and logits (segment of regions: %i)', async (segment) => {
      const g = await golden('visual-bert', 'visualbert-tiny', { visual_token_type_id: segment });
      const inputs = g.kind.inputsFrom(g.golden.io, g.model.config);
      const seen = await sitesOf(g.model, inputs);
      ['joint.embed.output', 'joint.0.output', 'joint.1.output'].forEach((path, i) =>
        expect(difference(seen.get(path)!.values, g.golden, `hidden.${i}.vt${segment}`)).toBeLessThan(i === 0 ? embedding : 1e-5));
      expect(difference(seen.get('output')!.values, g.golden, `logits.vt${segment}`)).toBeLessThan(1e-5);
      tf.dispose(tensorsIn([inputs, g.inputs]));
      disposeModel(g.model.scope);
    });
  });
});
