import * as tf from '@tensorflow/tfjs';
import { adapt, around, definePlugin, denseGradient, measurements, random, totalMacs, value, type Adapted, type Hook, type Host, type Plugin } from '@espalier/core';
import { lora } from '@espalier/lora';
import { gatesOf, spottune } from '@espalier/spottune';
import { toBeAllClose, toBeBitEqual, useCpu, useOnnx } from '@espalier/testing';
import { tune } from '@espalier/tune';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { backbone, disposeModel, initialised, type VqaExamples, type VqaModel } from './index.ts';

/* Golden group 9 of adaptive fine-tuning: what no answer reads is left out, and outputs and all gradients are the same. */
const [BATCH, LENGTH, REGIONS, ANSWERS] = [5, 4, 5, 7];
function examples(featureSize: number): VqaExamples {
  const draw = random(0, 'dead code');
  const floats = (n: number, f = () => draw.normal()) => Float32Array.from({ length: n }, f);
  return {
    ids: Array.from({ length: BATCH }, (_, i) => `${i}`),
    questions: Int32Array.from({ length: BATCH * LENGTH }, (_, i) => (i % LENGTH < 2 + (Math.floor(i / LENGTH) % 3) ? 5 + draw.integer(20) : 0)), questionLength: LENGTH,
    features: floats(BATCH * REGIONS * featureSize), boxes: floats(BATCH * REGIONS * 4, () => draw.uniform() * 60),
    regionCounts: Int32Array.of(REGIONS, REGIONS - 1, REGIONS - 2, REGIONS, 1), regions: REGIONS, featureSize,
    imageSizes: floats(BATCH * 2, () => 64), targets: floats(BATCH * ANSWERS, () => draw.uniform()), answers: ANSWERS,
  };
}
const without = { hidden_dropout_prob: 0, attention_probs_dropout_prob: 0 };
const inline = (attach: (host: Host) => readonly Hook[]): Plugin => definePlugin({ name: 'inline', version: '0.1.0', hookApi: '1.0', options: z.strictObject({}), attach })();
const head = () => tune({ preset: 'head', answers: ANSWERS }, { as: 'head' });

/** Moves everything trainable away from where it starts. */
function stir(adapted: Adapted<unknown>): void {
  for (const { path, variable } of adapted.parameters.values()) {
    const generator = random(0, 'stir', path);
    tf.tidy(() => variable.assign(tf.add(variable, tf.tensor(Float32Array.from({ length: variable.size }, () => 0.1 * generator.normal()), variable.shape))));
  }
}
const lossOf = (y: tf.Tensor): tf.Scalar => tf.tidy(() => tf.mean(tf.square(tf.sub(y, 0.3))));

const MODELS = [
  ['vl-bert', { skip_dead_rows: true }], ['visual-bert', { skip_dead_rows: true }], ['lxmert', { skip_dead_rows: true, skip_dead_branch: true }],
] as const;

describe.each(MODELS)('9. %s %j', (name, skip) => {
  const { build, sizes } = backbone(name);
  const held: VqaModel<unknown>[] = [];
  let [whole, less]: VqaModel<unknown>[] = [];
  let inputs: unknown;
  beforeAll(async () => {
    await useCpu();
    [whole, less] = [{ skip_dead_rows: false, skip_dead_branch: false }, skip].map((options) => build({ ...Object(sizes.tiny), ...without, ...options }, initialised(0)));
    held.push(whole!, less!);
    inputs = whole!.inputs(examples(whole!.featureSize));
  });
  afterAll(() => held.forEach((m) => disposeModel(m.scope)));

  const sides = (plugins: () => Plugin[]) => [whole!, less!].map((model) => {
    const adapted = adapt(model, plugins());
    stir(adapted);
    return adapted;
  });
  const trunk = { kind: 'trunk', hidden: 8 } as const;

  it.each<[string, () => Plugin[]]>([
    ['all weights tuned', () => [tune({ preset: 'all' }), head()]],
    ['a LoRA', () => [lora({ rank: 2 }), head()]],
    ['routed blocks', () => [spottune({ policy: trunk, freezeEmbeddings: false }), head()]],
    ['routed sublayers', () => [spottune({ strategy: 'spottune_res', policy: trunk, estimator: 'reinmax' }), head()]],
    ['routed components', () => [spottune({ strategy: 'spottune', policy: trunk }), head()]],
    ['dropped blocks', () => [spottune({ strategy: 'blockdrop', policy: { ...trunk, prior: 0.9 } }), head()]],
    ['replaced blocks, both branches', () => [spottune({ strategy: 'blockreplace', policy: trunk, executor: 'dense' }), head()]],
  ])('%s: outputs and gradients are the same, for less', async (_, plugins) => {
    const both = sides(plugins);
    const numbers = async (adapted: Adapted<unknown>) => {
      const y = await adapted.forward(inputs);
      const learned = await adapted.learn(inputs, lossOf);
      const gradients = new Map([...learned.gradients].map(([path, g]) => [path, denseGradient(g).dataSync<'float32'>().slice()]));
      const output = y.dataSync<'float32'>().slice();
      const macs = totalMacs(await adapted.account(inputs));
      learned.dispose();
      y.dispose();
      return { output, gradients, macs };
    };
    const [expected, found] = [await numbers(both[0]!), await numbers(both[1]!)];
    toBeBitEqual(found.output, expected.output);
    for (const [path, g] of expected.gradients) {
      const own = found.gradients.get(path);
      if (!own) expect(g.every((x) => x === 0), path).toBe(true); // of the half that is left out
      else toBeAllClose(own, g, { relative: 1e-5, absolute: 1e-8 }, path);
    }
    expect([...found.gradients.keys()].filter((path) => !expected.gradients.has(path))).toEqual([]);
    expect(found.macs).toBeLessThan(expected.macs);
    both.forEach((a) => a.dispose());
  });

  it('recomputed blocks have the same gradients', async () => {
    const [a, b] = sides(() => [tune({ preset: 'all' }), head()]);
    const [expected, found] = [await a!.learn(inputs, lossOf, { recompute: true }), await b!.learn(inputs, lossOf, { recompute: true })];
    for (const [path, g] of expected.gradients) if (found.gradients.has(path)) toBeAllClose(found.gradients.get(path)!, g, { relative: 1e-5, absolute: 1e-8 }, path);
    [expected, found, a!, b!].forEach((x) => x.dispose());
  });
});

describe('9. what is left out', () => {
  const cost = async (name: string, options: object, plugins: (adapted: 'any') => Plugin[] = () => []) => {
    await useCpu();
    const { build, sizes } = backbone(name);
    const model = build({ ...Object(sizes.tiny), skip_dead_branch: false, ...options }, initialised(0));
    const adapted = adapt(model, plugins('any'));
    const inputs = model.inputs(examples(model.featureSize));
    const rows = await adapted.account(inputs);
    const { hidden_size: d, intermediate_size: inner } = Object(model.config);
    adapted.dispose();
    disposeModel(model.scope);
    return { total: totalMacs(rows), d: Number(d), inner: Number(inner) };
  };
  const SKIP = { skip_dead_rows: true };

  it('of one stream: queries, attention, its output and the feed-forward of all tokens but one', async () => {
    for (const [name, tokens] of [['vl-bert', LENGTH + 4 + REGIONS + 2], ['visual-bert', undefined]] as const) {
      const [all, few] = [await cost(name, {}), await cost(name, SKIP)];
      const saved = (t: number) => (t - 1) * (2 * all.d * all.d + 2 * t * all.d + 2 * all.d * all.inner);
      const possible = Array.from({ length: 40 }, (_, t) => saved(t));
      expect(possible, name).toContain(all.total - few.total);
      if (tokens !== undefined) expect(all.total - few.total).toBe(saved(tokens));
    }
  });

  it('nothing where somebody sees all tokens: an observer, a value hook in the block, an edit around it', async () => {
    const all = (await cost('vl-bert', {})).total;
    const last = (host: Host) => Math.max(...host.stages({ role: 'block' }).map((s) => s.block!));
    const seeing: Plugin[] = [
      inline((host) => host.sites({ role: 'ffn.hidden' }).filter((site) => site.block === last(host)).map((site) => value(site, (x) => x))),
      inline((host) => host.stages({ role: 'block' }).filter((at) => at.block === last(host)).map((at) => around(at, 'edit', (run, s) => run(s)))),
      inline((host) => host.stages({ role: 'encoder' }).map((at) => around(at, 'repeat', (run, s) => run(s)))),
    ];
    for (const plugin of seeing) expect((await cost('vl-bert', SKIP, () => [plugin])).total).toBe(all);
    const elsewhere = inline((host) => host.sites({ role: 'ffn.hidden' }).filter((site) => site.block === 0).map((site) => value(site, (x) => x)));
    expect((await cost('vl-bert', SKIP, () => [elsewhere])).total).toBeLessThan(all);
    const { build, sizes } = backbone('vl-bert');
    const model = build({ ...Object(sizes.tiny), ...SKIP }, initialised(0));
    const lengths = new Set<number>();
    await adapt(model, []).forward(model.inputs(examples(model.featureSize)), { observe: (site, x) => site.path.endsWith('ffn.hidden') && lengths.add(x.shape[1]!) });
    expect([...lengths]).toEqual([expect.any(Number)]);
    expect([...lengths][0]).toBeGreaterThan(REGIONS);
    disposeModel(model.scope);
  });

  it('a policy that reads the last block sees all of it', async () => {
    await useCpu();
    const { build, sizes } = backbone('vl-bert');
    const probabilities: Float32Array[] = [];
    for (const options of [{}, SKIP]) {
      const model = build({ ...Object(sizes.tiny), ...options }, initialised(0));
      const blocks = gatesOf(adapt(model, [spottune({ policy: { kind: 'random' } })])).length;
      const adapted = adapt(model, [spottune({ policy: { kind: 'trunk', from: blocks, hidden: 8 } })]);
      stir(adapted);
      probabilities.push((await measurements(adapted, model.inputs(examples(model.featureSize)))).find((m) => m.name === 'probability')!.values);
      adapted.dispose();
      disposeModel(model.scope);
    }
    toBeBitEqual(probabilities[1]!, probabilities[0]!);
  });

  it('in steps that are recorded and replayed', async () => {
    const losses: number[][] = [];
    for (const backend of [useCpu, useOnnx]) {
      await backend();
      const { build, sizes } = backbone('vl-bert');
      const model = build({ ...Object(sizes.tiny), ...SKIP }, initialised(0));
      const adapted = adapt(model, [tune({ preset: 'all' }), head()]);
      const learner = adapted.learner<undefined>({ loss: (y) => lossOf(y) });
      const own: number[] = [];
      const inputs = model.inputs(examples(model.featureSize));
      for (let step = 0; step < 3; step++) {
        const lesson = await learner.learn(inputs, undefined, { seed: 0, step, samples: ['0', '1', '2', '3', '4'] });
        own.push(...lesson.scalars.dataSync());
        lesson.dispose();
      }
      expect(learner.refused).toBeUndefined();
      losses.push(own);
      learner.dispose();
      adapted.dispose();
      disposeModel(model.scope);
    }
    await useCpu();
    toBeAllClose(losses[1]!, losses[0]!, { relative: 1e-4 });
  });
});
