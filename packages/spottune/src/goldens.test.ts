import { readFileSync } from 'node:fs';
import * as tf from '@tensorflow/tfjs';
import { adapt, add, scale, Scope, sequence, streamOf, type Model, type TensorSource } from '@espalier/core';
import { crossBlock, toBeAllClose, toLeakNothing, transformerBlock, useCpu, type BlockSizes } from '@espalier/testing';
import { beforeAll, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { givenGates } from '../fixtures/given-gates.ts';
import type { options } from './settings.ts';

const numbers = z.array(z.number());
const arrays = z.record(z.string(), numbers);
const Result = z.object({ policy: numbers.optional(), out: numbers.optional(), lang: numbers.optional(), visn: numbers.optional(), loss: z.number().optional(), dpolicy: numbers.optional(), dW: arrays.optional() });
const Sizes = z.looseObject({ H: z.number(), heads: z.number(), I: z.number(), B: z.number() });
const Fixture = z.object({
  single_stream: z.object({ config: Sizes, frozen: arrays, tuned: arrays, replace: arrays, x: numbers, additive_mask: numbers, loss_weight: numbers, results: z.record(z.string(), Result) }),
  two_stream: z.object({ config: Sizes, frozen: arrays, tuned: arrays, lang: numbers, feats: numbers, boxes: numbers, lang_additive_mask: numbers, wl: numbers, wv: numbers, results: z.record(z.string(), Result) }),
});
const { single_stream: one, two_stream: two } = Fixture.parse(JSON.parse(readFileSync(new URL('../fixtures/spottune.json', import.meta.url), 'utf8')));

beforeAll(useCpu);

/** Our path of an array -> its name in the fixture. */
const RENAMES: readonly (readonly [RegExp, string])[] = [
  [/^joint\.(\d)\./, 'layer.$1.'],
  [/^text\.0\./, 'layer.0.'], [/^vision\.0\./, 'r_layers.0.'],
  [/^vision\.embed\.vision\.norm/, 'visn_fc.visn_layer_norm'], [/^vision\.embed\.boxes\.norm/, 'visn_fc.box_layer_norm'],
  [/^vision\.embed\.vision/, 'visn_fc.visn_fc'], [/^vision\.embed\.boxes/, 'visn_fc.box_fc'],
  [/^cross\.0\.cross\.(query|key|value)/, 'x_layers.0.visual_attention.att.$1'], [/^cross\.0\.cross/, 'x_layers.0.visual_attention'],
  [/^cross\.0\.text\.attention/, 'x_layers.0.lang_self_att'], [/^cross\.0\.vision\.attention/, 'x_layers.0.visn_self_att'],
  [/^cross\.0\.text\.ffn\.up/, 'x_layers.0.lang_inter.dense'], [/^cross\.0\.vision\.ffn\.up/, 'x_layers.0.visn_inter.dense'],
  [/^cross\.0\.text\.ffn/, 'x_layers.0.lang_output'], [/^cross\.0\.vision\.ffn/, 'x_layers.0.visn_output'],
  [/(layer.*|layers\.0)\.attention\.(query|key|value)/, '$1.attention.self.$2'], [/(self_att)\.(query|key|value)/, '$1.self.$2'],
  [/(layer\.\d|r_layers\.0)\.attention\.(output|norm)/, '$1.attention.$2'],
  [/\.ffn\.up\./, '.intermediate.dense.'], [/\.ffn\.(down|norm)/, '.output.$1'],
  [/(attention|self_att)\.(output|norm)/, '$1.output.$2'], [/visual_attention\.output\.output/, 'visual_attention.output.dense'],
  [/output\.(output|down)\./, 'output.dense.'], [/output\.norm/, 'output.LayerNorm'],
  [/_output\.down\./, '_output.dense.'], [/\.kernel$|\.gamma$/, '.weight'], [/\.beta$/, '.bias'],
];
const nameOf = (path: string): string => RENAMES.reduce((name, [from, to]) => name.replace(from, to), path);

/** A fixture's array as ours: kernels are [out, in] there. */
const array = (from: Readonly<Record<string, number[]>>, path: string, shape: readonly number[]): tf.Tensor => {
  const values = from[nameOf(path)];
  if (!values) throw new Error(`the fixture has no '${nameOf(path)}' for ${path}`);
  return tf.tidy(() => (shape.length === 2 ? tf.transpose(tf.tensor(values, [...shape].reverse())) : tf.tensor(values, [...shape])));
};

const sizes = ({ config }: { config: z.infer<typeof Sizes> }): BlockSizes => ({ width: config.H, heads: config.heads, inner: config.I, dropout: 0 });

/** The model of a fixture: its streams, flattened side by side, are the output. */
function goldenModel(kind: 'one' | 'two'): { model: Model<null>; dispose(): void } {
  const held: tf.Tensor[] = [];
  const own = <T extends tf.Tensor>(t: T): T => (held.push(t), t);
  const source = kind === 'one' ? one : two;
  const tensors: TensorSource = (path, shape) => own(array(source.frozen, path, shape));
  const root = Scope.root(tensors);
  const flat = (x: tf.Tensor) => tf.reshape(x, [4, -1]);
  const mask = (values: number[]) => own(tf.tensor(values, [4, 1, 1, values.length / 4]));
  const dispose = () => tf.dispose(held);
  if (kind === 'one') {
    const scope = root.child('joint', { stream: 'joint' });
    const [x, seen] = [own(tf.tensor(one.x, [4, 3, 8])), mask(one.additive_mask)];
    const embed = scope.child('embed').source<null>(['joint'], () => ({ joint: { hidden: x, mask: seen } }));
    const blocks = [0, 1].map((i) => transformerBlock(scope.child(String(i), { block: i }), 'joint', sizes(one)));
    const encoder = root.stage('encoder', sequence(...blocks), { streams: ['joint'] });
    return { dispose, model: { name: 'golden', scope: root, batch: () => 4, forward: (_, step) => flat(streamOf(encoder(embed(null, step), step), 'joint').hidden as tf.Tensor) } };
  }
  const [text, vision] = [root.child('text', { stream: 'text' }), root.child('vision', { stream: 'vision' })];
  const [lang, feats, boxes, seen, open] = [own(tf.tensor(two.lang, [4, 3, 8])), own(tf.tensor(two.feats, [4, 2, 6])), own(tf.tensor(two.boxes, [4, 2, 4])), mask(two.lang_additive_mask), own(tf.zeros([4, 1, 1, 2]))];
  const embedText = text.child('embed').source<null>(['text'], () => ({ text: { hidden: lang, mask: seen } }));
  const at = vision.child('embed');
  const [seeing, seeingNorm, placing, placingNorm] = [at.use(at.linear('embed.vision', 6, 8)), at.norm('embed.vision.norm', 8), at.use(at.linear('embed.boxes', 4, 8)), at.norm('embed.boxes.norm', 8)];
  const embedVision = at.source<null>(['vision'], (_, step) => ({
    vision: { hidden: scale(add(step.norm(seeingNorm, step.linear(seeing, feats)), step.norm(placingNorm, step.linear(placing, boxes))), 0.5), mask: open },
  }));
  const encoder = root.stage(
    'encoder',
    sequence(
      transformerBlock(text.child('0', { block: 0 }), 'text', sizes(two)),
      transformerBlock(vision.child('0', { block: 1 }), 'vision', sizes(two)),
      crossBlock(root.child('cross').child('0', { block: 2 }), ['text', 'vision'], sizes(two)),
    ),
    { streams: ['text', 'vision'] },
  );
  return {
    dispose,
    model: {
      name: 'golden', scope: root, batch: () => 4,
      forward: (_, step) => {
        const s = encoder({ ...embedText(null, step), ...embedVision(null, step) }, step);
        return tf.concat([flat(streamOf(s, 'text').hidden as tf.Tensor), flat(streamOf(s, 'vision').hidden as tf.Tensor)], 1);
      },
    },
  };
}

interface Run {
  readonly output: number[][];
  readonly loss: number;
  readonly dpolicy: number[];
  readonly gradients: ReadonlyMap<string, tf.Tensor>;
  dispose(): void;
}

/** One training step (without dropout) under given gates, in an executor. */
async function run(kind: 'one' | 'two', given: z.input<typeof options>, policy: readonly number[], grouped: boolean): Promise<Run> {
  const { model, dispose: disposeModel } = goldenModel(kind);
  const source = kind === 'one' ? one : two;
  const dys: number[][] = [];
  const adapted = adapt(model, [givenGates(given, policy, { grouped, onGradient: (dy) => dys.push(dy) })]);
  for (const { path, variable } of adapted.parameters.values()) {
    const name = path.slice('given/'.length);
    const replaced = /^replace\.joint\.(\d)\.(kernel|bias)$/.exec(name);
    const values = replaced ? tf.tidy(() => {
      const raw = one.replace[`replace_layer.${replaced[1]}.${replaced[2] === 'kernel' ? 'weight' : 'bias'}`]!;
      return replaced[2] === 'kernel' ? tf.transpose(tf.tensor(raw, [8, 8])) : tf.tensor1d(raw);
    }) : array(source.tuned, name, variable.shape);
    variable.assign(values);
    values.dispose();
  }
  const weights = kind === 'one' ? one.loss_weight : joined(two.wl, two.wv);
  const learned = await adapted.learn(null, (y) => tf.tidy(() => tf.sum(tf.mul(tf.tanh(y), tf.tensor(weights, y.shape)))));
  const output = learned.output.arraySync() as number[][];
  return {
    output, loss: learned.loss.dataSync()[0]!, dpolicy: dys[0]!, gradients: learned.gradients,
    dispose: () => {
      learned.dispose();
      adapted.dispose();
      disposeModel();
    },
  };
}

/** [4, a] and [4, b] side by side. */
const joined = (a: readonly number[], b: readonly number[]): number[] =>
  [0, 1, 2, 3].flatMap((i) => [...a.slice((i * a.length) / 4, ((i + 1) * a.length) / 4), ...b.slice((i * b.length) / 4, ((i + 1) * b.length) / 4)]);

const close = { relative: 2e-5, absolute: 2e-5 };

const SINGLE: readonly (readonly [string, z.input<typeof options>])[] = [
  ['SpotTune_seed', { strategy: 'SpotTune', fidelity: 'reference' }],
  ['SpotTune', { strategy: 'SpotTune' }],
  ['SpotTune_Block_seed', { strategy: 'SpotTune_Block', fidelity: 'reference' }],
  ['SpotTune_Block', { strategy: 'SpotTune_Block' }],
  ['SpotTune_Res_seed', { strategy: 'SpotTune_Res', fidelity: 'reference' }],
  ['SpotTune_Res', { strategy: 'SpotTune_Res' }],
  ['BlockDrop_seed', { strategy: 'BlockDrop' }],
  ['BlockDrop_seed', { strategy: 'BlockDrop', fidelity: 'reference' }],
  ['BlockReplace_seed', { strategy: 'BlockReplace', fidelity: 'reference' }],
  ['BlockReplace', { strategy: 'BlockReplace' }],
];

describe.each([false, true])('goldens of one stream, grouped %s', (grouped) => {
  it.each(SINGLE)('%s %j', (name, given) =>
    toLeakNothing(async () => {
      const expected = one.results[name]!;
      const found = await run('one', given, expected.policy!, grouped);
      toBeAllClose(found.output.flat(), expected.out!, close, 'output');
      toBeAllClose([found.loss], [expected.loss!], close, 'loss');
      toBeAllClose(found.dpolicy, expected.dpolicy!, close, 'gradient of the gates');
      for (const [weight, values] of Object.entries(expected.dW!)) {
        const path = [...found.gradients.keys()].find((p) => nameOf(p.slice('given/'.length)) === weight)!;
        const shape = found.gradients.get(path)!.shape;
        const torch = tf.tidy(() => Array.from(tf.transpose(found.gradients.get(path)!).dataSync()));
        expect(shape).toHaveLength(2);
        toBeAllClose(torch, values, close, `gradient of ${weight}`);
      }
      found.dispose();
    }),
  );

  it.each([['all_frozen', 0], ['all_tuned', 1]] as const)('%s', async (name, gate) => {
    for (const [strategy, gates] of [['spottune', 40], ['spottune_block', 8], ['spottune_res', 16]] as const) {
      const found = await run('one', { strategy }, Array.from({ length: gates }, () => gate), grouped);
      toBeAllClose(found.output.flat(), one.results[name]!.out!, close, strategy);
      found.dispose();
    }
  });
});

const TWO: readonly (readonly [string, z.input<typeof options>])[] = [
  ['SpotTune', { strategy: 'SpotTune' }],
  ['SpotTune', { strategy: 'SpotTune', fidelity: 'reference' }], // its attention outputs are right in two streams
  ['SpotTune_Block_seed', { strategy: 'SpotTune_Block', fidelity: 'reference' }],
  ['SpotTune_Block', { strategy: 'SpotTune_Block' }],
];

describe.each([false, true])('goldens of two streams, grouped %s', (grouped) => {
  /** The fixture's gates come in LXMERT's order; the tiny cross block declares its feed-forward halves stream by stream. */
  const order = (policy: readonly number[]): number[] => (policy.length === 92 ? [0, 1, 2, 3].flatMap((i) => swap(policy.slice(23 * i, 23 * (i + 1)))) : [...policy]);
  const swap = (gates: readonly number[]): number[] => {
    const [a, b] = [gates.length - 3, gates.length - 2]; // vision in, language out
    return gates.map((g, i) => (i === a ? gates[b]! : i === b ? gates[a]! : g));
  };

  it.each(TWO)('%s %j', (name, given) =>
    toLeakNothing(async () => {
      const expected = two.results[name]!;
      const found = await run('two', given, order(expected.policy!), grouped);
      toBeAllClose(found.output.flat(), joined(expected.lang!, expected.visn!), close, 'output');
      toBeAllClose([found.loss], [expected.loss!], close, 'loss');
      toBeAllClose(found.dpolicy, order(expected.dpolicy!), close, 'gradient of the gates');
      found.dispose();
    }),
  );

  it.each([['all_frozen', 0], ['all_tuned', 1]] as const)('%s', async (name, gate) => {
    const expected = two.results[name]!;
    for (const [strategy, gates] of [['spottune', 92], ['spottune_block', 12]] as const) {
      const found = await run('two', { strategy }, Array.from({ length: gates }, () => gate), grouped);
      toBeAllClose(found.output.flat(), joined(expected.lang!, expected.visn!), close, strategy);
      found.dispose();
    }
  });
});
