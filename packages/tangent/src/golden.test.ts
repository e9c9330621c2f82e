import { readFileSync } from 'node:fs';
import * as tf from '@tensorflow/tfjs';
import { adapt, Dual, finish, gelu, layerNorm, mask, matMul, add, primal, relu, reshape, scale, Scope, slice, softmax, startStep, streamOf, tangentOf, tanh, transpose, type Adapted, type Value } from '@espalier/core';
import { crossBlock, toBeAllClose, transformerBlock, useCpu } from '@espalier/testing';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { miniBert, miniInputs, miniTargets, parseGoldens, pathOf, setTangents, SIZES, tensor, type Golden, type MiniInputs } from '../fixtures/mini-bert.ts';
import { tangent } from './tangent.ts';

const G = parseGoldens(readFileSync(new URL('../fixtures/tangent.json', import.meta.url), 'utf8'));
const close = (found: tf.Tensor | Float32Array, expected: Golden | number[], what: string) => {
  const values = Array.isArray(expected) ? expected : expected.data;
  const largest = Math.max(...values.map(Math.abs));
  toBeAllClose(found instanceof tf.Tensor ? found.dataSync() : found, values, { absolute: 5e-6 * Math.max(1, largest), relative: 0 }, what);
};
const both = (y: Value, expected: { readonly y: Golden; readonly dy: Golden }, what: string) => {
  close(primal(y), expected.y, what);
  close(tangentOf(y)!, expected.dy, `tangent of ${what}`);
};
/** A test in a scope of its own, whose tensors go with it. */
const scoped = (f: () => void) => () => {
  tf.engine().startScope();
  f();
  tf.engine().endScope();
};

/** (1/B) sum (1/A) |y - 15 target|^2. */
const rescaledSquare = (y: tf.Tensor, target: tf.Tensor): tf.Scalar => tf.div(tf.sum(tf.square(tf.sub(y, tf.mul(15, target)))), y.size);

beforeAll(useCpu);

describe('components: values and tangents', () => {
  const dual = (of: { params: Record<string, Golden>; tangents: Record<string, Golden> }, name: string) => new Dual(tensor(of.params[name]!), tensor(of.tangents[name]!));
  const linear = (x: Value, of: Parameters<typeof dual>[0], name: string): Value => {
    const y = add(matMul(reshape(x, [-1, x.shape.at(-1)!]), dual(of, `${name}.W`)), dual(of, `${name}.b`));
    return reshape(y, [...x.shape.slice(0, -1), y.shape.at(-1)!]);
  };
  const heads = (x: Value) => transpose(reshape(x, [x.shape[0]!, x.shape[1]!, 2, 4]), [0, 2, 1, 3]);
  const attention = (query: Value, context: Value, hidden: tf.Tensor, dropped?: tf.Tensor): Value => {
    const [q, k, v] = [linear(query, G.selfAttentionCore, 'a.q'), linear(context, G.selfAttentionCore, 'a.k'), linear(context, G.selfAttentionCore, 'a.v')].map(heads) as [Value, Value, Value];
    const p = softmax(add(scale(matMul(q, k, false, true), 0.5), hidden));
    return reshape(transpose(matMul(dropped ? mask(p, dropped) : p, v), [0, 2, 1, 3]), [2, 4, 8]);
  };
  const input = (of: { x: Golden; dx: Golden }) => new Dual(tensor(of.x), tensor(of.dx));

  it('linear', scoped(() => both(linear(input(G.linear), G.linear, 'l'), G.linear, 'linear')));
  it('layer norm', scoped(() => both(layerNorm(input(G.layerNorm), dual(G.layerNorm, 'n.gamma'), dual(G.layerNorm, 'n.beta')), G.layerNorm, 'norm')));
  it.each([['geluErf', gelu], ['tanh', tanh], ['relu', relu]] as const)('%s', (name, f) =>
    scoped(() => {
      const x = tensor(G.activations.x);
      const { y, dydx } = G.activations[name];
      both(f(new Dual(x, tf.onesLike(x))), { y, dy: dydx }, name);
    })(),
  );
  it('self-attention, and one dropout mask for both parts', scoped(() => {
    const x = input(G.selfAttentionCore);
    const hidden = tensor(G.selfAttentionCore.mask);
    both(attention(x, x, hidden), G.selfAttentionCore, 'self-attention');
    both(attention(x, x, hidden, tensor(G.selfAttentionDropout.dropMask)), G.selfAttentionDropout, 'dropped self-attention');
    // Another mask on the tangent alone is another function.
    const other = tangentOf(attention(x, x, hidden))!;
    expect(() => close(other, G.selfAttentionDropout.dy, '')).toThrow('off by');
  }));
  it('cross-attention', scoped(() => {
    const { v, dv, maskV } = G.crossAttentionCore;
    both(attention(input(G.selfAttentionCore), new Dual(tensor(v), tensor(dv)), tensor(maskV)), G.crossAttentionCore, 'cross-attention');
  }));
  it('pooler and head', scoped(() => {
    const P = G.poolerHead;
    const first = reshape(slice(input(P), [0, 0, 0], [-1, 1, -1]), [2, 8]);
    const up = gelu(linear(tanh(linear(first, P, 'pool')), P, 'head.fc1'));
    both(linear(layerNorm(up, dual(P, 'head.ln.gamma'), dual(P, 'head.ln.beta')), P, 'head.fc2'), P, 'head');
  }));
});

describe("the models' own blocks, linearised by the plugin", () => {
  /** Runs a block on dual streams with the goldens' tangents. */
  const run = (params: Record<string, Golden>, tangents: Record<string, Golden>, rename: (name: string) => string, make: (root: Scope) => (s: Scope) => ReturnType<typeof transformerBlock>, streams: Record<string, { hidden: Value; mask: tf.Tensor }>) => {
    const arrays = new Map(Object.entries(params).map(([name, x]) => [rename(name), tensor(x)]));
    const root = Scope.root((path) => arrays.get(path)!);
    const block = make(root)(root);
    const adapted = adapt({ name: 'block', scope: root, batch: () => 2, forward: () => tf.scalar(0) }, [tangent({ lambda: 0 })]);
    for (const [name, x] of Object.entries(tangents)) adapted.parameters.get(`tangent/${rename(name)}`)?.variable.assign(tensor(x));
    const step = startStep(adapted.plan, undefined, 2);
    const out = block(streams, step);
    finish(step);
    adapted.dispose();
    return out;
  };
  const inner = (name: string) => name.replace(/\.q\./, '.query.').replace(/\.k\./, '.key.').replace(/\.v\./, '.value.').replace(/\.o\./, '.output.').replace(/\.ln\./, '.norm.').replace('.fc1.', '.up.').replace('.fc2.', '.down.').replace(/\.W$/, '.kernel').replace(/\.b$/, '.bias');

  it('a BERT layer', scoped(() => {
    const { x, dx, mask: hides, params, tangents } = G.bertLayer;
    const rename = (name: string) => inner(name.replace('b.', 'joint.0.').replace('.att.', '.attention.'));
    const out = run(params, tangents, rename, () => (root) => transformerBlock(root.child('joint.0', { stream: 'joint', block: 0 }), 'joint', SIZES), { joint: { hidden: new Dual(tensor(x), tensor(dx)), mask: tensor(hides) } });
    both(streamOf(out, 'joint').hidden, G.bertLayer, 'layer');
  }));

  it('an LXMERT cross layer, whose cross-attention is one set of weights used twice', scoped(() => {
    const X = G.lxmertXLayer;
    const sides: Record<string, string> = { cross: 'cross', lself: 'text.attention', vself: 'vision.attention', lffn: 'text.ffn', vffn: 'vision.ffn' };
    const rename = (name: string) => inner(name.replace(/^x\.(\w+)/, (_, side: string) => `cross.0.${sides[side]}`));
    const streams = {
      text: { hidden: new Dual(tensor(X.l), tensor(X.dl)), mask: tensor(X.maskL) },
      vision: { hidden: new Dual(tensor(X.v), tensor(X.dv)), mask: tensor(X.maskV) },
    };
    const out = run(X.params, X.tangents, rename, () => (root) => crossBlock(root.child('cross.0', { block: 0 }), ['text', 'vision'], SIZES), streams);
    both(streamOf(out, 'text').hidden, { y: X.yl, dy: X.dyl }, 'text');
    both(streamOf(out, 'vision').hidden, { y: X.yv, dy: X.dyv }, 'vision');
  }));
});

describe('a BERT of two layers', () => {
  const M = G.miniBert;
  const everything = { parts: ['attention', 'ffn', 'norms', 'biases', 'pooler', 'head', 'embeddings'] as const, lambda: 0 };
  let model: ReturnType<typeof miniBert>;
  let inputs: MiniInputs;
  let targets: tf.Tensor2D;
  beforeAll(async () => {
    await useCpu();
    [model, inputs, targets] = [miniBert(G, transformerBlock), miniInputs(G), miniTargets(G)];
  });
  afterAll(() => {
    model.dispose();
    tf.dispose([targets, ...Object.values(inputs)]);
  });
  const out = async (adapted: Adapted<MiniInputs>) => {
    const y = await adapted.forward(inputs);
    const values = y.dataSync<'float32'>().slice();
    y.dispose();
    return values;
  };
  /** f(x; w) + J D for the tangents of an instance. */
  const sum = (jvp: Golden) => M.f0.data.map((x, i) => x + jvp.data[i]!);

  it('gives f(x; w), bit for bit while the tangents are zero, and f(x; w) + J D', async () => {
    const [plain, adapted] = [adapt(model, []), adapt(model, [tangent(everything)])];
    close(await out(plain), M.f0, 'output');
    expect(await out(adapted)).toEqual(await out(plain));
    setTangents(G, adapted);
    close(await out(adapted), sum(M.jvp), 'linearised output');
    adapted.dispose();
  });

  it('linearises the last layer, pooler and head alone with lastK 1', async () => {
    const adapted = adapt(model, [tangent({ lastK: 1, lambda: 0 })]);
    const names = [...adapted.parameters.keys()];
    expect(names.filter((name) => /joint\.0|embed/.test(name))).toEqual([]);
    // All of the golden's 933 but the dead bias of the key.
    expect([...adapted.parameters.values()].reduce((n, p) => n + p.variable.size, 0)).toBe(G.miniBertRidge.numTangentParams - 8);
    setTangents(G, adapted);
    close(await out(adapted), sum(M.jvpLast1), 'linearised output');
    adapted.dispose();
  });

  it('has the loss and the gradients', async () => {
    const adapted = adapt(model, [tangent(everything)]);
    setTangents(G, adapted);
    const learned = await adapted.learn(inputs, (y) => rescaledSquare(y, targets));
    expect(learned.loss.dataSync()[0]! / M.rslMean).toBeCloseTo(1, 5);
    const largest = Math.max(...Object.values(M.gradNorms));
    for (const [name, norm] of Object.entries(M.gradNorms)) {
      if (name.endsWith('k.b')) continue; // dead: it has no tangent
      const g = learned.gradients.get(`tangent/${pathOf(name)}`)!.dataSync();
      expect(Math.abs(Math.hypot(...g) - norm), name).toBeLessThan(5e-6 * largest);
    }
    for (const [name, g] of Object.entries(M.gradSamples)) close(learned.gradients.get(`tangent/${pathOf(name)}`)!, g, `gradient of ${name}`);
    learned.dispose();
    adapted.dispose();
  });

  it('weighs each sample as the goldens do', async () => {
    const adapted = adapt(model, [tangent(everything)]);
    setTangents(G, adapted);
    const y = await adapted.forward(inputs);
    const each = [0, 1].map((i) => rescaledSquare(tf.slice(y, [i, 0], [1, 5]), tf.slice(targets, [i, 0], [1, 5])).dataSync()[0]!);
    close(Float32Array.from(each), M.rslPerExample, 'loss of a sample');
    adapted.dispose();
  });

  it('trained to the end from any start, reaches the optimum of the ridge problem', async () => {
    const R = G.miniBertRidge;
    const adapted = adapt(model, [tangent({ lastK: 1, lambda: R.lambda })]);
    const points = [...adapted.parameters.values()];
    const lengths = points.map((p) => p.variable.size);
    const flat = (of: (path: string) => ArrayLike<number>) => Float64Array.from(points.flatMap((p) => Array.from(of(p.path))));
    const put = (d: Float64Array) => {
      let from = 0;
      points.forEach((p, i) => tf.tidy(() => p.variable.assign(tf.tensor(Float32Array.from(d.subarray(from, (from += lengths[i]!))), p.variable.shape))));
    };
    // Of an affine output the gradients of its entries at zero are all there is to know.
    put(new Float64Array(lengths.reduce((x, y) => x + y)));
    const rows: Float64Array[] = [];
    for (let k = 0; k < 10; k++) {
      const learned = await adapted.learn(inputs, (y) => tf.reshape<tf.Rank.R0>(tf.slice(tf.reshape(y, [-1]), [k], [1]), []));
      rows.push(flat((path) => learned.gradients.get(path)!.dataSync()));
      learned.dispose();
    }
    const wanted = targets.dataSync().map((t) => 15 * t);
    const f0 = await out(adapted);
    const [smooth, strong] = [2 * (303.364 / 10 + R.lambda), 2 * R.lambda]; // 2 lambda_max(J J') / (n C) + 2 lambda
    const momentum = (Math.sqrt(smooth) - Math.sqrt(strong)) / (Math.sqrt(smooth) + Math.sqrt(strong));
    for (const start of [0, 0.5]) {
      let at = flat((path) => adapted.parameters.get(path)!.variable.dataSync().map((_, i) => start * Math.sin(i)));
      let last = at;
      for (let step = 0; step < 600; step++) {
        const residual = rows.map((row, k) => (2 / 10) * (f0[k]! + row.reduce((sum, j, i) => sum + j * at[i]!, 0) - wanted[k]!));
        const next = at.map((x, i) => x - (2 * R.lambda * x + residual.reduce((sum, r, k) => sum + r * rows[k]![i]!, 0)) / smooth);
        at = next.map((x, i) => x + momentum * (x - last[i]!));
        last = next;
      }
      put(last);
      const learned = await adapted.learn(inputs, (y) => rescaledSquare(y, targets));
      expect(learned.loss.dataSync()[0]).toBeCloseTo(R.objective, 4);
      // The gradient of the training step, regulariser included, ends there.
      expect(Math.max(...[...learned.gradients.values()].map((g) => Math.max(...g.dataSync().map(Math.abs))))).toBeLessThan(1e-3);
      learned.dispose();
      toBeAllClose(await out(adapted), R.pred.data, { absolute: 1e-3, relative: 0 }, 'prediction at the optimum');
      expect(Math.hypot(...last)).toBeCloseTo(R.deltaNorm, 4);
    }
    adapted.dispose();
  });

  it('is off the model with weights w + h D by a quadratic of h', async () => {
    const errors: number[] = [];
    for (const h of [0.4, 0.2, 0.1, 0.05]) {
      const adapted = adapt(model, [tangent(everything)]);
      setTangents(G, adapted, h);
      const moved = { ...G, miniBert: { ...M, params: Object.fromEntries(Object.entries(M.params).map(([name, x]) => [name, { ...x, data: x.data.map((v, i) => v + h * M.tangents[name]!.data[i]!) }])) } };
      const other = miniBert(moved, transformerBlock);
      const [a, b] = [await out(adapt(other, [])), await out(adapted)];
      errors.push(Math.max(...a.map((v, i) => Math.abs(v - b[i]!))));
      other.dispose();
      adapted.dispose();
    }
    [0.4939, 0.1358, 0.03455, 0.00861].forEach((expected, i) => expect(errors[i]! / expected).toBeCloseTo(1, 2));
    errors.slice(1).forEach((e, i) => expect(errors[i]! / e).toBeGreaterThan(3.5));
  });
});
