import { parseArgs } from 'node:util';
import * as tf from '@tensorflow/tfjs';
import { adapt, memoryStore, type ActivationStore, type Adapted, type Plugin } from '@espalier/core';
import { selectBackend } from '@espalier/core/backend';
import { lora } from '@espalier/lora';
import { spottune } from '@espalier/spottune';
import { answerLoss } from '@espalier/train';
import { tune } from '@espalier/tune';
import { backbone, disposeModel, initialised, type VqaModel } from '@espalier/vl-models';
import { z } from 'zod';
import { madeUpBatch } from './batch.ts';
import { inProcessOfItsOwn, peakMemory } from './memory.ts';
import { paired, show } from './paired.ts';

/** A side that is compared, and the most it may cost. */
interface Side {
  readonly plugins: () => Plugin[];
  readonly goal: number;
}

/** Gates drawn anew for every pass, open at a rate: the trunk policy starts undecided, at its prior. */
const trunk = (prior: number) => ({ policy: { kind: 'trunk', prior }, evaluation: 'sample' }) as const;
const forwards: Readonly<Record<string, Side>> = {
  ...Object.fromEntries([0.25, 0.5, 0.75].map((r) => [`spottune_block at ${r}`, { plugins: () => [spottune(trunk(r))], goal: 1.1 }])),
  ...Object.fromEntries([0.25, 0.5, 0.75].map((r) => [`blockdrop at ${r}`, { plugins: () => [spottune({ strategy: 'blockdrop', ...trunk(r) })], goal: r + 0.1 }])),
  'spottune_block at 0.5, dense': { plugins: () => [spottune({ ...trunk(0.5), executor: 'dense' })], goal: Infinity },
  'spottune_block at 0.5, independent': { plugins: () => [spottune({ policy: { kind: 'independent', prior: 0.5 }, evaluation: 'sample' })], goal: Infinity },
};

const STANDARD = 'standard';
const half = trunk(0.5);
const steps: Readonly<Record<string, Side>> = {
  [STANDARD]: { plugins: () => [spottune({ strategy: 'standard' })], goal: Infinity },
  'spottune_block, scheme A': { plugins: () => [spottune(half)], goal: 1.25 },
  'spottune_block, scheme C, M = 4': { plugins: () => [spottune({ ...half, counterfactual: { every: 4 } })], goal: 1 },
  'spottune_block, LoRA r8 tuned': { plugins: () => [spottune({ ...half, copies: false }), lora({ rank: 8 })], goal: 0.8 },
  'spottune_block, dense': { plugins: () => [spottune({ ...half, executor: 'dense' })], goal: Infinity },
};
const MEMORY_GOAL = 1.2;
const MEMORY_STEPS = 40;

/**
 * What adaptive fine-tuning costs: a forward pass against the plain model's, a training step and its memory against standard
 * fine-tuning of the same blocks (gradients, without the optimiser). Gates open for half of the samples where nothing else
 * is said; batch 32, size small. A turn of a side holds four steps, so that scheme C's dear one is in each.
 *
 * And a training step of the last blocks, all below them read from a cache, against the same without it.
 *
 *   npm run bench -- spottune [--backbones vl-bert,lxmert] [--pairs 31] [--only forward|training|memory|cache]
 */
export async function spottuneSteps(args: string[]): Promise<void> {
  const { values } = parseArgs({
    args, options: { backbones: { type: 'string', default: 'vl-bert,lxmert' }, pairs: { type: 'string', default: '31' }, only: { type: 'string' }, child: { type: 'string' } },
  });
  const { name } = await selectBackend();
  const chosen = values.backbones.split(',');
  if (values.child !== undefined) return memoryChild(chosen[0]!, values.child);
  const turns = { pairs: Number(values.pairs), each: 4 };
  const does = (part: string) => values.only === undefined || values.only === part;
  console.log(`adaptive fine-tuning (batch 32, size small, ${name}, ${turns.pairs} pairs of ${turns.each})`);
  for (const backboneName of chosen) {
    if (does('forward')) await forward(backboneName, turns);
    if (does('training')) await training(backboneName, turns);
    if (does('memory')) await memory(backboneName);
    if (does('cache')) await cached(backboneName, turns);
  }
}

type Turns = { readonly pairs: number; readonly each: number };

async function forward(name: string, turns: Turns): Promise<void> {
  const { model, inputs, batch, dispose } = setUp(name);
  let step = 0;
  const pass = (adapted: Adapted<unknown>) => async () => {
    const y = await adapted.forward(inputs, { samples: batch.ids, step: step++ });
    await y.data();
    y.dispose();
  };
  const plain = adapt(model, []);
  for (const [side, { plugins, goal }] of Object.entries(forwards)) {
    const own = adapt(model, plugins());
    console.log(show(`${name}, forward, ${side}`, await paired(pass(own), pass(plain), turns), goal));
    own.dispose();
  }
  dispose();
}

async function training(name: string, turns: Turns): Promise<void> {
  const { model, inputs, batch, dispose } = setUp(name);
  const targets = tf.tensor2d(batch.targets, [batch.ids.length, batch.answers]);
  const base = learning(model, steps[STANDARD]!.plugins(), inputs, targets, batch);
  for (const [side, { plugins, goal }] of Object.entries(steps)) {
    if (side === STANDARD) continue;
    const own = learning(model, plugins(), inputs, targets, batch);
    console.log(show(`${name}, training, ${side}`, await paired(own.run, base.run, turns), goal));
    own.dispose();
  }
  base.dispose();
  targets.dispose();
  dispose();
}

/** Later epochs of training the last k of L blocks: with a cache k forward and 2 k backward of L + 2 k, in units of a block. */
async function cached(name: string, turns: Turns): Promise<void> {
  const { model, inputs, batch, dispose } = setUp(name);
  const targets = tf.tensor2d(batch.targets, [batch.ids.length, batch.answers]);
  const blocks = model.scope.points.stage.filter((s) => s.role === 'block').length;
  for (const last of [1, 2]) {
    const plugins = () => [spottune({ strategy: 'last_k', last })];
    const [own, base] = [memoryStore(), undefined].map((cache) => learning(model, plugins(), inputs, targets, batch, cache));
    // Blocks of a stack of one stream are not as dear as those that cross: the goal is VL-BERT's.
    const goal = name === 'vl-bert' ? (1.05 * 3 * last) / (blocks + 2 * last) : Infinity;
    console.log(show(`${name}, last ${last} of ${blocks} blocks, cached`, await paired(own!.run, base!.run, turns), goal));
    own!.dispose();
    base!.dispose();
  }
  targets.dispose();
  dispose();
}

function setUp(name: string) {
  const kind = backbone(name);
  const model: VqaModel<unknown> = kind.build(kind.sizes.small, initialised(0));
  const batch = madeUpBatch();
  const inputs = model.inputs(batch);
  const dispose = () => {
    tf.dispose(Object.values(inputs as Record<string, tf.Tensor>));
    disposeModel(model.scope);
  };
  return { model, inputs, batch, dispose };
}

function learning(model: VqaModel<unknown>, plugins: readonly Plugin[], inputs: unknown, targets: tf.Tensor2D, batch: ReturnType<typeof madeUpBatch>, cache?: ActivationStore) {
  const adapted = adapt(model, [...plugins, tune({ preset: 'head', answers: batch.answers }, { as: 'head' })]);
  const learner = adapted.learner<tf.Tensor2D>({ loss: answerLoss, cache });
  let count = 0;
  return {
    run: async () => {
      const lesson = await learner.learn(inputs, targets, { seed: 0, step: count++, samples: batch.ids });
      await lesson.scalars.data();
      lesson.dispose();
    },
    dispose: () => {
      learner.dispose();
      adapted.dispose();
    },
  };
}

const Memory = z.strictObject({ idle: z.number(), peak: z.number() });

/** Resident memory at the peak of training, each side a process of its own, garbage collected after every step. */
async function memory(name: string): Promise<void> {
  const of = (side: string) => inProcessOfItsOwn(['spottune', '--backbones', name, '--child', side], Memory);
  const base = await of(STANDARD);
  for (const side of Object.keys(steps).slice(1)) {
    const own = await of(side);
    const ratio = own.peak / base.peak;
    const MB = (bytes: number) => (bytes / 1e6).toFixed(0);
    console.log(`${`${name}, memory, ${side}`.padEnd(44)} ${ratio.toFixed(3)}${ratio > MEMORY_GOAL ? ' MISSED' : ''}  (${MB(own.peak)} / ${MB(base.peak)} MB at the peak of ${MEMORY_STEPS} steps, ${MB(own.idle)} / ${MB(base.idle)} before)`);
  }
}

async function memoryChild(name: string, side: string): Promise<void> {
  const { model, inputs, batch } = setUp(name);
  const idle = process.memoryUsage.rss();
  const { run } = learning(model, steps[side]!.plugins(), inputs, tf.tensor2d(batch.targets, [batch.ids.length, batch.answers]), batch);
  for (let i = 0; i < MEMORY_STEPS; i++) {
    await run();
    globalThis.gc?.();
  }
  console.log(JSON.stringify({ idle, peak: await peakMemory() }));
}
