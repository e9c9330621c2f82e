import { readFileSync } from 'node:fs';
import * as tf from '@tensorflow/tfjs';
import { adapt, add, around, definePlugin, finish, primal, Scope, sequence, startStep, streamOf, update, value, type Adapted, type Model, type Stage } from '@espalier/core';
import { distanceOf, toBeAllClose, toBeBitEqual, transformerBlock, useCpu } from '@espalier/testing';
import { beforeAll, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { gateOf } from './selection.ts';
import { reconstructionOf } from './reconstruction.ts';
import { toast } from './toast.ts';

beforeAll(useCpu);

const matrix = z.array(z.array(z.number()));
const G = z
  .object({ G3_toast_postln: z.object({ h1: matrix, h2: matrix, cos: z.array(z.number()), s: z.array(z.number()), z: matrix, td0: matrix, td1: matrix, recon_sum: z.number() }) })
  .parse(JSON.parse(readFileSync(new URL('../fixtures/goldens.json', import.meta.url), 'utf8'))).G3_toast_postln;

/** fill(shape, s, a)[k] = a sin(1 + 0.5 s + 0.7 k), row by row. */
const fill = (shape: number[], s: number, a: number) => tf.tensor(Float32Array.from({ length: shape.reduce((m, n) => m * n, 1) }, (_, k) => a * Math.sin(1 + 0.5 * s + 0.7 * k)), shape);
const eye = (n: number) => tf.eye(n);

/** The golden's arrays by path; its weights are [out, in]. */
function arrays(path: string, shape: readonly number[]): tf.Tensor {
  const [, block, ...place] = path.split('.');
  const s = 10 * (Number(block) + 1);
  const part = place.at(-1);
  const name = place.slice(0, -1).join('.');
  const norm = { 'attention.norm': [6, 7], 'ffn.norm': [8, 9] }[name];
  if (norm) return part === 'gamma' ? tf.add(1, fill([...shape], s + norm[0]!, 0.1)) : fill([...shape], s + norm[1]!, 0.1);
  const j = ['attention.query', 'attention.key', 'attention.value', 'attention.output', 'ffn.up', 'ffn.down'].indexOf(name);
  return part === 'kernel' ? tf.transpose(fill([shape[1]!, shape[0]!], s + j, 0.5)) : fill([...shape], s + j + 0.25, 0.1);
}

/** The golden's encoder of `layers` blocks: h_0 [B, N, 4] and an additive mask in, h_L out. */
function encoder(layers = 2): Model<tf.Tensor> {
  const scope = Scope.root(arrays);
  const joint = scope.child('joint', { stream: 'joint' });
  const blocks = Array.from({ length: layers }, (_, i): Stage => transformerBlock(joint.child(String(i), { block: i }), 'joint', { width: 4, heads: 2, inner: 8, dropout: 0 }));
  const enter = joint.child('embed').source<tf.Tensor>(['joint'], (hidden) => ({ joint: { hidden, mask: tf.tensor4d([0, 0, -10000], [1, 1, 1, 3]) } }));
  const run = scope.stage('encoder', sequence(...blocks), { streams: ['joint'] });
  const encode: NonNullable<Model<tf.Tensor>['encode']> = (x, step) => run(enter(x, step), step);
  return { name: 'golden', scope, batch: (x) => x.shape[0]!, encode, forward: (x, step) => streamOf(encode(x, step), 'joint').hidden };
}

const A = (i: number) => fill([4, 4], 42 + i, 0.4);
const B = (i: number) => fill([4, 4], 50 + i, 0.4);
const h0 = () => fill([1, 3, 4], 1, 1);

function golden(options: Parameters<typeof toast>[0] = {}, layers = 2): Adapted<tf.Tensor> {
  const adapted = adapt(encoder(layers), [toast({ freezeP: false, ...options })]);
  const set = (name: string, value: tf.Tensor) => adapted.parameters.get(`toast/joint.${name}`)?.variable.assign(value);
  set('xi', fill([4], 40, 1));
  set('p', tf.add(eye(4), fill([4, 4], 41, 0.05)));
  for (let i = 0; i < layers; i++) {
    set(`${i}.a`, tf.transpose(A(i)));
    set(`${i}.b`, tf.transpose(B(i)));
  }
  return adapted;
}

/** Values that pass sites of a forward pass, by role, block and pass. */
async function watched(adapted: Adapted<tf.Tensor>, ...roles: readonly string[]): Promise<{ output: tf.Tensor; seen: Map<string, tf.Tensor> }> {
  const seen = new Map<string, tf.Tensor>();
  const output = await adapted.forward(h0(), { observe: (site, x, step) => roles.includes(site.role) && seen.set(`${site.role} ${site.block} ${step.pass}`, tf.keep(primal(x).clone())) });
  return { output, seen };
}
const close = (x: tf.Tensor, expected: readonly (readonly number[])[], what: string) => toBeAllClose(x.dataSync(), expected.flat(), { relative: 2e-6 }, what);

describe('G3: a BERT of two blocks', () => {
  it('has the features, the gate, the signals and the output of the reference', async () => {
    const adapted = golden();
    close(await adapted.forward(h0(), { variant: 'pretrained' }), G.h1, 'h1');
    const { output, seen } = await watched(adapted, 'attention.value.input', 'block.output');
    close(seen.get('block.output 1 0')!, G.h1, 'features of the first pass');
    close(output, G.h2, 'h2');
    const s = gateOf(seen.get('block.output 1 0')!, fill([1, 1, 4], 40, 1));
    toBeAllClose(primal(s).dataSync(), G.s, { relative: 1e-6 }, 's');
    const h = [h0(), seen.get('block.output 0 1')!];
    for (const [i, td] of [G.td0, G.td1].entries()) toBeAllClose(tf.sub(seen.get(`attention.value.input ${i} 1`)!, h[i]!).dataSync(), td.flat(), { absolute: 3e-7 }, `td_${i}`);
  });

  it('has the reconstruction loss of the second pass', async () => {
    const adapted = golden();
    const { seen } = await watched(adapted, 'block.output');
    const step = startStep(adapted.plan, h0(), 1);
    const h = [h0(), seen.get('block.output 0 1')!, seen.get('block.output 1 1')!];
    const every = tf.ones([1, 3]);
    const sum = [0, 1].reduce((total, i) => total + primal(reconstructionOf((x) => tf.matMul(x as tf.Tensor, tf.transpose(A(i))), h[i + 1]!, h[i]!, every, step)).dataSync()[0]!, 0);
    expect(sum).toBeCloseTo(G.recon_sum, 5);
    finish(step);
    const learned = await golden({ reconstruction: 0.1 }).learn(h0(), (y) => tf.sum(tf.mul(y, 0)));
    const own = [0, 1].reduce((total, i) => {
      const e = tf.sub(tf.matMul(tf.reshape(h[i + 1]!, [3, 4]), tf.transpose(A(i))), tf.reshape(h[i]!, [3, 4]));
      return total + tf.mean(tf.square(tf.slice(e, [0, 0], [2, 4]))).dataSync()[0]!; // the third is padding
    }, 0);
    expect(learned.losses.get('toast reconstruction')!.dataSync()[0]).toBeCloseTo(0.1 * own, 6);
    expect([...learned.gradients].filter(([, g]) => tf.max(tf.abs(g)).dataSync()[0]! > 0).map(([name]) => name).sort()).toEqual(['toast/joint.0.a', 'toast/joint.1.a']);
  });

  it('T3: the signal is in the values alone; other places differ as measured', async () => {
    const model = encoder();
    const td = [G.td0, G.td1].map((x) => tf.tensor3d([x]));
    const want = tf.tensor3d([G.h2]);
    const placed = (roles: readonly string[], residual = false, bias = false) =>
      definePlugin({
        name: 'control', version: '1.0.0', hookApi: '1.0', options: z.strictObject({}),
        attach: (host) => [
          ...host.sites({ role: 'attention.value.input' }).flatMap(({ block }) => host.sites({ block: [block!, block! + 1] }).filter((s) => roles.includes(s.role)).map((s) => value(s, (x) => add(x, td[block!]!)))),
          ...(residual ? host.stages({ role: 'block' }).map((b) => around(b, 'edit', (run, s) => run(update(s, 'joint', (x) => ({ ...x, hidden: add(x.hidden, td[b.block!]!) }))))) : []),
          ...(bias ? host.sites({ role: 'attention.value' }).map((s) => value(s, (y, step) => add(y, step.weight(s.of!).bias!))) : []),
        ],
      })();
    const off = async (...args: Parameters<typeof placed>) => distanceOf(await adapt(model, [placed(...args)]).forward(h0()), want).distance;
    const input = 'attention.value.input';
    expect(await off([input])).toBeLessThan(2e-6);
    expect(await off([input, 'attention.query.input', 'attention.key.input'])).toBeGreaterThan(1e-3);
    expect(await off([], true)).toBeGreaterThan(1e-2);
    expect(await off([input], false, true)).toBeGreaterThan(0.1);
  });
});

describe('T1: no feedback is the identity', () => {
  it('bit for bit, biases and all', async () => {
    const adapted = adapt(encoder(), [toast()]);
    toBeBitEqual(await adapted.forward(h0()), await adapted.forward(h0(), { variant: 'pretrained' }), 'output with B = 0');
  });

  it('but for W_O b_V in the released classifier\'s way', async () => {
    const adapted = adapt(encoder(), [toast({ fidelity: 'reference', to: 0 })]);
    const { seen } = await watched(adapted, 'attention.output');
    const shift = tf.sub(seen.get('attention.output 0 1')!, seen.get('attention.output 0 0')!);
    const expected = tf.matMul(tf.reshape(arrays('joint.0.attention.value.bias', [4]), [1, 4]), arrays('joint.0.attention.output.kernel', [4, 4]));
    toBeAllClose(shift.dataSync(), tf.tile(expected, [3, 1]).dataSync(), { absolute: 3e-7 }, 'W_O b_V');
  });
});

describe('T2: where steering begins', () => {
  it('the first steered block has the attention of the first pass, later ones have not', async () => {
    const { seen } = await watched(golden({ to: 0 }, 3), 'attention.probabilities');
    toBeBitEqual(seen.get('attention.probabilities 0 1')!, seen.get('attention.probabilities 0 0')!, 'attention of block 0');
    for (const block of [1, 2]) expect(distanceOf(seen.get(`attention.probabilities ${block} 1`)!, seen.get(`attention.probabilities ${block} 0`)!).distance).toBeGreaterThan(1e-6);
  });

  it('blocks before `to` run once, those from `from` on get none', async () => {
    const { output, seen } = await watched(golden({ to: 1, from: 2 }, 3), 'attention.probabilities', 'block.output');
    expect([...seen.keys()].filter((key) => key.startsWith('block')).sort()).toEqual(['block.output 0 0', 'block.output 1 0', 'block.output 1 1', 'block.output 2 1']); // T11: f + (L - t) = 4
    toBeBitEqual(seen.get('attention.probabilities 1 1')!, seen.get('attention.probabilities 1 0')!, 'attention of block 1');
    toBeBitEqual(output, seen.get('block.output 2 1')!, 'output');
  });
});

describe('T4: the way down', () => {
  it('td_l = Z (B_l A_l .. A_(L-1))\', of three blocks whose A do not commute', async () => {
    const { seen } = await watched(golden({ to: 0 }, 3), 'attention.value.input', 'block.output');
    const x = tf.reshape(seen.get('block.output 2 0')!, [3, 4]);
    const s = tf.reshape(primal(gateOf(x, fill([1, 4], 40, 1))), [3, 1]);
    const selected = tf.matMul(tf.mul(x, s), tf.add(eye(4), fill([4, 4], 41, 0.05)));
    for (let l = 0; l < 3; l++) {
      const m = Array.from({ length: 3 - l }, (_, k) => A(l + k)).reduce((p, a) => tf.matMul(p as tf.Tensor2D, a as tf.Tensor2D), B(l));
      const h = l === 0 ? h0() : seen.get(`block.output ${l - 1} 1`)!;
      toBeAllClose(tf.sub(seen.get(`attention.value.input ${l} 1`)!, h).dataSync(), tf.matMul(selected as tf.Tensor2D, m as tf.Tensor2D, false, true).dataSync(), { absolute: 5e-7 }, `td_${l}`);
    }
  });
});

describe('T5: the gate', () => {
  const x = () => fill([2, 5, 4], 3, 1);
  const of = (h: tf.Tensor, xi: tf.Tensor) => primal(gateOf(h, xi)).dataSync();
  it('lies in [0, 1], whatever the lengths; the opposite vector opens the other tokens', () => {
    const xi = fill([1, 1, 4], 7, 1);
    const s = of(x(), xi);
    for (const v of s) expect(v).toBeGreaterThanOrEqual(0);
    for (const v of s) expect(v).toBeLessThanOrEqual(1);
    toBeAllClose(of(tf.mul(x(), 13), xi), s, { relative: 1e-6 }, 'longer features');
    toBeAllClose(of(x(), tf.mul(xi, 0.01)), s, { relative: 1e-6 }, 'shorter task vector');
    const other = of(x(), tf.neg(xi));
    expect([...s].every((v, i) => (v > 0) !== (other[i]! > 0))).toBe(true);
    expect(s.some((v) => v > 0) && other.some((v) => v > 0)).toBe(true);
  });

  it('closes a token of negative cosine, whose signal is exactly zero', async () => {
    const { seen } = await watched(golden({ to: 0 }), 'attention.value.input', 'block.output');
    const rows = (t: tf.Tensor) => t.dataSync().slice(4, 8);
    toBeBitEqual(rows(seen.get('attention.value.input 0 1')!), rows(h0()), 'token 1');
  });
});

describe('T7: padding', () => {
  it('that is fed back changes no token that is there', async () => {
    const huge = tf.tensor3d([[[0, 0, 0, 0], [0, 0, 0, 0], [1e4, -1e4, 1e4, 3e4]]]);
    const plugin = definePlugin({
      name: 'huge', version: '1.0.0', hookApi: '1.0', options: z.strictObject({}),
      attach: (host) => host.sites({ role: 'attention.value.input' }).map((s) => value(s, (x) => add(x, huge))),
    })();
    const model = encoder();
    const real = (t: tf.Tensor) => t.dataSync().slice(0, 8);
    toBeBitEqual(real(await adapt(model, [plugin]).forward(h0())), real(await adapt(model, []).forward(h0())), 'tokens that are there');
  });
});
