import * as tf from '@tensorflow/tfjs';
import {
  adapt, add, around, CheckpointError, definePlugin, load, matMul, OptionsError, reshape, save, SelectionError, totalMacs, transpose, value, zeros,
  type Adapted, type LinearRole, type Plugin, type Select,
} from '@espalier/core';
import {
  drawn, gradientsOf, jitter, tinyModels, memoryStore, snapshot, tinyLoss, tinyOneStream, tinyTwoStream, toBeAllClose, toBeBitEqual, toRefuse, train,
  type TinyInputs, type TinyModel,
} from '@espalier/testing';
import { afterAll, afterEach, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { gift } from './gift.ts';
import { GENERATORS } from './options.ts';

const { one, two, inputs } = await tinyModels(afterAll);

const held: { dispose(): void }[] = [];
afterEach(() => held.splice(0).forEach((x) => x.dispose()));
const put = (model: TinyModel, ...plugins: Plugin[]): Adapted<TinyInputs> => {
  const adapted = adapt(model, plugins);
  held.push(adapted);
  return adapted;
};
const output = async (adapted: Adapted<TinyInputs>) => {
  const y = await adapted.forward(inputs);
  held.push(y);
  return y.dataSync<'float32'>();
};
/** Gives variables the values that equally named ones of another have. */
const copy = (from: Adapted<TinyInputs>, to: Adapted<TinyInputs>) => {
  for (const [name, { variable }] of to.parameters) variable.assign(from.parameters.get(name)!.variable);
};
type Options = NonNullable<Parameters<typeof gift>[0]>;
const SMALL: Options = { rank: 4 };
const plugin = (name: string, attach: Parameters<typeof definePlugin>[0]['attach']) => definePlugin({ name, version: '0.1.0', hookApi: '1.0', options: z.strictObject({}), attach })();

describe('T1: before training', () => {
  it.each(GENERATORS)('nothing changes, bit for bit, at any role: %s', async (generator) => {
    for (const model of [one, two]) {
      const expected = await output(put(model));
      for (const role of new Set(model.scope.points.linear.map((w) => w.role)))
        for (const form of generator === 'linear' ? (['activation', 'low-rank'] as const) : (['low-rank'] as const)) {
          const found = await output(put(model, gift({ ...SMALL, generator, form, at: { role } })));
          expect(Math.max(...found.map((y, i) => Math.abs(y - expected[i]!))), `${role}, ${form}`).toBe(0);
        }
    }
  });

  it('phi is uniform within 1 / sqrt(in), psi zero', () => {
    const { parameters } = put(one, gift(SMALL));
    const [phi, psi] = ['phi', 'psi'].map((name) => parameters.get(`gift/joint.attention.output.${name}`)!.variable);
    expect([phi!.shape, psi!.shape]).toEqual([[16, 4], [4, 16]]);
    const largest = Math.max(...phi!.dataSync().map(Math.abs));
    expect(largest).toBeLessThanOrEqual(1 / 4);
    expect(largest).toBeGreaterThan(0.2);
    expect(new Set(psi!.dataSync())).toEqual(new Set([0]));
  });
});

describe('T2: forms', () => {
  const everywhere: Select<LinearRole> = { role: ['attention.output', 'attention.value', 'ffn.up', 'ffn.down', 'pooler'] };
  const weightForm = async (adapted: Adapted<TinyInputs>, model: (tensors: (path: string) => tf.Tensor) => TinyModel) => {
    const merged = await adapted.merge();
    const plain = model((path) => merged.get(path)!);
    held.push(plain);
    return output(put(plain));
  };
  const sameBase = { one: (tensors: (path: string) => tf.Tensor) => tinyOneStream({ tensors }), two: (tensors: (path: string) => tf.Tensor) => tinyTwoStream({ tensors }) };

  it.each(['one', 'two'] as const)('activation, low-rank and weight form are equal: %s stream', async (name) => {
    const model = name === 'one' ? one : two;
    for (const extra of [{}, { outBias: true }, { sharing: 'site' as const }]) {
      const [first, second] = (['activation', 'low-rank'] as const).map((form) => put(model, gift({ ...SMALL, ...extra, at: everywhere, form })));
      jitter(first!);
      copy(first!, second!);
      const expected = await output(first!);
      toBeAllClose(await output(second!), expected, { relative: 1e-5 }, 'low-rank form');
      toBeAllClose(await weightForm(first!, sameBase[name]), expected, { relative: 1e-5 }, 'weight form');
      const [a, b] = [await gradientsOf(first!, inputs), await gradientsOf(second!, inputs)];
      for (const [path, g] of a) toBeAllClose(b.get(path)!, g, { relative: 2e-5 }, `gradient of ${path}`);
    }
  });

  it.each<Options>([
    { activation: 'sigmoid' }, { activation: 'hsigmoid' }, { activation: 'gelu' }, { activation: 'softmax', axis: 'rank' }, { activation: 'softmax', axis: 'outputs' },
    { inBias: true }, { generator: 'paca', clusters: 5 },
  ])('with %j low-rank and weight form are equal, and there is no activation form', async (extra) => {
    const adapted = put(two, gift({ ...SMALL, ...extra, at: everywhere }));
    jitter(adapted);
    toBeAllClose(await weightForm(adapted, sameBase.two), await output(adapted), { relative: 1e-5 });
    await toRefuse(() => gift.from({ ...SMALL, ...extra, form: 'activation' }), OptionsError, "'form'", 'activation form');
  });

  it.each(['linear', 'paca'] as const)('train without a dense product or kernel gradient: %s', async (generator) => {
    for (const form of generator === 'linear' ? (['activation', 'low-rank'] as const) : (['auto'] as const)) {
      const adapted = put(one, gift({ rank: 3, generator, form, ...(generator === 'paca' && { clusters: 5 }) }));
      const profile = await tf.profile(async () => {
        (await adapted.learn(inputs, tinyLoss, { prefix: false })).dispose();
        return [];
      });
      const products = profile.kernels.filter((k) => k.name === 'BatchMatMul').map((k) => k.outputShapes[0]!.join());
      expect(products.filter((shape) => /^(1,)?16,16$/.test(shape))).toEqual([]);
      expect(products.some((shape) => /^(1,)?(3,16|16,3)$/.test(shape))).toBe(true);
    }
  });
});

describe('T3: merging', () => {
  it('takes the pretrained kernels, so that merging again gives the same', async () => {
    const adapted = put(one, gift(SMALL));
    jitter(adapted);
    const [a, b] = [await adapted.merge(), await adapted.merge()];
    for (const [path, x] of a) toBeBitEqual(b.get(path)!, x, path);
    tf.dispose([...a.values(), ...b.values()]);
  });

  it('a merged model is not the base: the same GIFT is refused on it', async () => {
    const adapted = put(one, gift(SMALL));
    jitter(adapted);
    const store = memoryStore();
    await save(adapted, store, { config: {} });
    const merged = await adapted.merge();
    const plain = tinyOneStream({ tensors: (path) => merged.get(path)! });
    held.push(plain);
    await toRefuse(() => load(plain, store, { resolve: () => gift }), CheckpointError, 'fingerprint');
  });
});

describe('T4: gradients', () => {
  it('at the start psi gets one and phi does not', async () => {
    for (const generator of GENERATORS) {
      const gradients = await gradientsOf(put(two, gift({ ...SMALL, generator })), inputs);
      const norm = (end: string) => [...gradients].filter(([name]) => !name.endsWith('psi') === (end !== 'psi')).reduce((n, [, g]) => n + Math.hypot(...g), 0);
      expect(norm('psi')).toBeGreaterThan(1e-3);
      expect(norm('others')).toBe(0);
    }
  });

  it('of a shared generator are the sum over its sites', async () => {
    const [shared, single] = [put(one, gift({ ...SMALL, sharing: 'role' })), put(one, gift({ ...SMALL, sharing: 'site' }))];
    jitter(shared);
    for (const [name, { variable }] of single.parameters) variable.assign(shared.parameters.get(`gift/attention.output.${name.slice(-3)}`)!.variable);
    const [sum, each] = [await gradientsOf(shared, inputs), await gradientsOf(single, inputs)];
    expect(each.size).toBe(4);
    for (const part of ['phi', 'psi']) {
      const parts = [...each].filter(([name]) => name.endsWith(part)).map(([, g]) => g);
      const total = parts[0]!.map((x, i) => parts.reduce((s, g) => s + g[i]!, 0 * x));
      toBeAllClose(sum.get(`gift/attention.output.${part}`)!, total, { relative: 1e-5 }, part);
    }
  });
});

describe('T5: training', () => {
  it.each(['linear', 'paca'] as const)('moves the generator and nothing of the backbone, and learns: %s', async (generator) => {
    const adapted = put(two, gift({ ...SMALL, generator, ...(generator === 'paca' && { clusters: 6 }) }));
    const before = new Map([...two.tensors].map(([path, t]) => [path, t.dataSync().slice()]));
    const start = snapshot(adapted);
    const losses = await train(adapted, inputs, 40, { rate: 0.3 });
    for (const [path, t] of two.tensors) toBeBitEqual(t, tf.tensor(before.get(path)!, t.shape), path);
    // A softmax does not see what is added to all of its scores: the bias of the keys has no derivative.
    for (const [path, values] of snapshot(adapted, (name) => !name.endsWith('key.bias'))) expect(values, path).not.toEqual(start.get(path));
    expect(losses.at(-1)).toBeLessThan(0.8 * losses[0]!);
  });
});

describe('T9: cross-attention', () => {
  it("adds the gradients of both directions, as GIFT's change of the input in each direction by itself", async () => {
    const role: LinearRole = 'cross.output';
    const adapted = put(two, gift({ ...SMALL, at: { role } }));
    // W (I + phi psi) is W on x + (x psi') phi': with variables of its own for each direction.
    const apart = put(two, plugin('apart', (host) =>
      host.sites({ role: `${role}.input` }).map((site) => {
        const [phi, psi] = [host.variable(`${site.stream}.${site.block}.phi`, [16, 4], zeros), host.variable(`${site.stream}.${site.block}.psi`, [4, 16], zeros)];
        return value(site, (x, step) => {
          const [p, q] = [phi, psi].map((v) => transpose(step.read(v), [1, 0]));
          return add(x, reshape(matMul(matMul(reshape(x, [-1, 16]), q!), p!), x.shape));
        });
      }),
    ));
    jitter(adapted);
    for (const [name, { variable }] of apart.parameters) variable.assign(adapted.parameters.get(`gift/cross.output.${name.slice(-3)}`)!.variable);
    toBeAllClose(await output(apart), await output(adapted), { relative: 1e-5 });
    const [both, each] = [await gradientsOf(adapted, inputs), await gradientsOf(apart, inputs)];
    for (const part of ['phi', 'psi']) {
      const found = [...each].filter(([name]) => name.endsWith(part));
      const reached = found.filter(([, g]) => g.some((x) => x !== 0)).map(([name]) => name.slice('apart/'.length, -4)).sort();
      expect(reached).toEqual(['text.2', 'text.3', 'vision.2']); // the last block's vision half reaches no answer
      const total = found[0]![1].map((_, i) => found.reduce((s, [, g]) => s + g[i]!, 0));
      toBeAllClose(both.get(`gift/cross.output.${part}`)!, total, { relative: 1e-5 }, part);
    }
  });
});

describe('generation', () => {
  it('runs once a step, however many passes, branches and directions read it', async () => {
    const repeated = plugin('repeat', (host) => [around(host.stages({ role: 'encoder' })[0]!, 'repeat', (run, s) => run(run(s), { pass: 1 }))]);
    for (const model of [one, two])
      for (const generator of ['linear', 'paca'] as const) {
        const own = gift({ ...SMALL, generator, form: 'low-rank', ...(generator === 'paca' && { clusters: 5 }) });
        const macs = async (...plugins: Plugin[]) => totalMacs(await put(model, ...plugins).account(inputs), (r) => r.instance === 'gift');
        const [once, twice] = [await macs(own), await macs(own, repeated)];
        // Per token a low-rank tail costs 4 (16 + 16); 9 tokens of one stream, or 5 and 3 that pass two cross blocks.
        const tails = model === one ? 2 * 9 : 5 + 3 + 2 * 2 * (5 + 3);
        expect(twice - once).toBeCloseTo(tails * 4 * (16 + 16));
        expect(once).toBeGreaterThan(tails * 4 * (16 + 16));
      }
  });

  it('is not needed by the activation form, which costs 2 in r per token', async () => {
    const adapted = put(one, gift(SMALL));
    const rows = await adapted.account(inputs);
    expect(totalMacs(rows, (r) => r.instance === 'gift')).toBe(2 * 9 * 2 * 16 * 4);
    expect(totalMacs(rows, (r) => r.instance === '')).toBe(totalMacs(await put(one).account(inputs)));
  });
});

describe('two GIFTs', () => {
  it('multiply: W (I + a) (I + b), in the order in which they are put on', async () => {
    const adapted = put(one, gift(SMALL, { as: 'a' }), gift(SMALL, { as: 'b' }));
    jitter(adapted);
    const merged = await adapted.merge();
    const factor = (as: string) => {
      const [phi, psi] = ['phi', 'psi'].map((name) => adapted.parameters.get(`gift#${as}/joint.attention.output.${name}`)!.variable);
      return tf.add(tf.eye(16), tf.transpose(tf.matMul(phi!, psi!)));
    };
    tf.tidy(() => {
      const path = 'joint.0.attention.output.kernel';
      toBeAllClose(merged.get(path)!, tf.matMul(factor('b'), tf.matMul(factor('a'), one.tensors.get(path)!)), { relative: 1e-5 });
    });
    tf.dispose([...merged.values()]);
  });
});

describe('positions', () => {
  it("'sin' is the sinusoid of Vaswani et al. times the standard deviation of W", async () => {
    const adapted = put(one, gift({ generator: 'mlp', rank: 16, posEnc: 'sin', at: { path: 'joint.0.attention.output' } }));
    // With a zero second layer the generator is the identity, with phi and psi the identity the update is W + s P.
    const p = (name: string) => adapted.parameters.get(`gift/joint.attention.output.${name}`)!.variable;
    tf.tidy(() => {
      for (const name of ['phi', 'psi']) p(name).assign(tf.eye(16));
      for (const name of ['block0.ffn.fc2.kernel', 'block0.ffn.fc2.bias']) p(name).assign(tf.zerosLike(p(name)));
    });
    const merged = await adapted.merge();
    tf.tidy(() => {
      const kernel = one.tensors.get('joint.0.attention.output.kernel')!;
      const w = kernel.dataSync<'float32'>();
      const centre = w.reduce((s, x) => s + x, 0) / w.length;
      const deviation = Math.sqrt(w.reduce((s, x) => s + (x - centre) ** 2, 0) / w.length);
      const angle = (i: number, n: number) => n / 10_000 ** ((2 * (i % 8)) / 16);
      const expected = Array.from({ length: 256 }, (_, k) => {
        const [i, n] = [Math.floor(k / 16), k % 16]; // input feature, output channel
        return 2 * w[k]! + deviation * (i < 8 ? Math.sin(angle(i, n)) : Math.cos(angle(i, n)));
      });
      toBeAllClose(merged.get('joint.0.attention.output.kernel')!.dataSync(), expected, { relative: 1e-5 });
    });
    tf.dispose([...merged.values()]);
  });
});

describe('T10: bad input', () => {
  it.each<[unknown, ...string[]]>([
    [{ generator: 'linaer' }, "'generator'", "Did you mean 'linear'?"],
    [{ activation: 'relu' }, "'activation'", '"relu" is none of identity, sigmoid'],
    [{ activation: 'standard_sigmoid' }, "'activation'", 'none of'],
    [{ activation: 'softmax' }, "'axis'", "add axis: 'outputs' or 'rank'"],
    [{ axis: 'rank' }, "'axis'", 'drop it'],
    [{ sharing: 'roles' }, "Did you mean 'role'?"],
    [{ gift_paramters: {} }, "no option 'gift_paramters'"],
    [{ rnk: 4 }, "no option 'rnk'. Did you mean 'rank'?"],
    [{ at: { roles: 'ffn.up' } }, "no option 'at.roles'. Did you mean 'role'?"],
    [{ rank: 0 }, "option 'rank'"],
    [{ clusters: 8 }, "'clusters'", "choose generator 'paca' or 'paca-attention'"],
    [{ generator: 'paca', activation: 'gelu' }, "'activation'", "choose generator 'linear'"],
    [{ generator: 'mlp', heads: 2 }, "'heads'"],
    [{ generator: 'paca', rank: 6, heads: 4 }, "'heads'", 'divisor'],
    [{ generator: 'mlp', rank: 2, ffnRatio: 0.1 }, "'ffnRatio'"],
    [{ generator: 'paca', form: 'activation' }, "'form'", "use 'auto' or 'low-rank'"],
    [{ generator: 'paca', posEnc: 'sine' }, "Did you mean 'sin'"],
  ])('refuses %j', async (options, ...words) => {
    await toRefuse(() => gift.from(options), OptionsError, "'gift'", ...words);
  });

  it('refuses selections that cannot be', async () => {
    const on = (model: TinyModel, options: unknown) => () => put(model, gift.from(options));
    await toRefuse(on(one, { rank: 4, at: { role: 'attention.outptu' } }), SelectionError, "'gift'", "Did you mean 'attention.output'");
    await toRefuse(on(one, { rank: 4, at: { role: ['attention.output', 'cross.output'] } }), SelectionError, "'cross.output' is not a role of a linear here");
    await toRefuse(on(one, { rank: 4, at: { role: 'attention.output', block: [7, 9] } }), SelectionError, 'selects no linear');
    await toRefuse(on(one, { rank: 4, sharing: 'global', at: { role: ['ffn.up', 'ffn.down'] } }), SelectionError, "'ffn.up' (16)", "'ffn.down' (32)", "share by 'role'");
    await toRefuse(on(one, { rank: 4, generator: 'mixer', sharing: 'global', at: { role: ['ffn.up', 'pooler'] } }), SelectionError, "generator 'mixer'", 'outputs differ');
    await toRefuse(on(one, { rank: 17 }), OptionsError, "option 'rank' is 17", 'use at most 16');
    expect(on(one, { rank: 32, at: { role: 'ffn.down' } })).not.toThrow();
  });
});

describe('a second backbone', () => {
  it('takes the same options and starts from the same values', () => {
    const other = tinyOneStream({ tensors: drawn(9) });
    held.push(other);
    expect(snapshot(put(other, gift(SMALL)))).toEqual(snapshot(put(one, gift(SMALL))));
  });
});
