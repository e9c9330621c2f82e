import { parseArgs } from 'node:util';
import * as tf from '@tensorflow/tfjs';
import { adapt, type Adapted, type Plugin } from '@espalier/core';
import { selectBackend } from '@espalier/core/backend';
import { gift } from '@espalier/gift';
import { lora } from '@espalier/lora';
import { answerLoss } from '@espalier/train';
import { tune } from '@espalier/tune';
import { backbone, backbones, disposeModel, initialised, type VqaModel } from '@espalier/vl-models';
import { z } from 'zod';
import { madeUpBatch } from './batch.ts';
import { inProcessOfItsOwn, peakMemory } from './memory.ts';
import { paired, show } from './paired.ts';

const LORA = 'lora r8';
const at = { role: ['attention.output', 'cross.output'] } as const;
const sides: Readonly<Record<string, { readonly plugin: () => Plugin; readonly goal: number }>> = {
  'gift r16': { plugin: () => gift(), goal: 1.05 },
  'gift r16, low-rank form': { plugin: () => gift({ form: 'low-rank' }), goal: Infinity },
  'gift r16, PaCa': { plugin: () => gift({ generator: 'paca' }), goal: 1.15 },
};
const MEMORY_GOAL = 1.05;
const MEMORY_STEPS = 40;

/**
 * A training step of GIFT against one of LoRA r8 at the same places, in time and in memory at the peak; a forward pass of the
 * merged model against the plain one. Batch 32, size small.
 *
 *   npm run bench -- gift [--backbones lxmert,vl-bert] [--pairs 41] [--each 4] [--only time|memory]
 */
export async function giftSteps(args: string[]): Promise<void> {
  const { values } = parseArgs({
    args,
    options: { backbones: { type: 'string', default: [...backbones.keys()].join(',') }, pairs: { type: 'string', default: '41' }, each: { type: 'string', default: '4' }, only: { type: 'string' }, child: { type: 'string' } },
  });
  const name = (await selectBackend()).name;
  const chosen = values.backbones.split(',');
  if (values.child !== undefined) return memoryChild(chosen[0]!, values.child);
  const turns = { pairs: Number(values.pairs), each: Number(values.each) };
  console.log(`GIFT against LoRA r8 at the outputs of attention, merged against plain (batch 32, size small, ${name}, ${turns.pairs} pairs of ${turns.each})`);
  for (const one of chosen) {
    if (values.only !== 'memory') await times(one, turns);
    if (values.only !== 'time') await memory(one);
  }
}

async function times(name: string, turns: { readonly pairs: number; readonly each: number }): Promise<void> {
  const kind = backbone(name);
  const model = kind.build(kind.sizes.small, initialised(0));
  const batch = madeUpBatch();
  const inputs = model.inputs(batch);
  const targets = tf.tensor2d(batch.targets, [batch.ids.length, batch.answers]);
  const base = step(model, LORA, inputs, targets, batch);
  for (const [side, { goal }] of Object.entries(sides)) {
    const own = step(model, side, inputs, targets, batch);
    const result = await paired(own.run, base.run, turns);
    console.log(show(`${name}, ${side}`, result, goal));
    own.dispose();
  }
  base.dispose();
  await forwards(name, kind.build, kind.sizes.small, model, inputs, turns);
  tf.dispose([targets, ...Object.values(inputs as Record<string, tf.Tensor>)]);
  disposeModel(model.scope);
}

function step(model: VqaModel<unknown>, side: string, inputs: unknown, targets: tf.Tensor2D, batch: ReturnType<typeof madeUpBatch>) {
  const there = { role: at.role.filter((role) => model.scope.points.linear.some((w) => w.role === role)) };
  const plugin = side === LORA ? lora({ rank: 8, at: there }) : sides[side]!.plugin();
  const adapted = adapt(model, [plugin, tune({ preset: 'head', answers: batch.answers }, { as: 'head' })]);
  const learner = adapted.learner<tf.Tensor2D>({ loss: answerLoss });
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

async function forwards(name: string, build: (config: unknown, tensors: (path: string) => tf.Tensor) => VqaModel<unknown>, config: unknown, model: VqaModel<unknown>, inputs: unknown, turns: { readonly pairs: number; readonly each: number }): Promise<void> {
  const adapted = adapt(model, [gift()]);
  const merged = await adapted.merge();
  adapted.dispose();
  const plain = adapt(build(config, (path) => merged.get(path)!), []);
  const forward = (side: Adapted<unknown>) => async () => {
    const y = await side.forward(inputs);
    await y.data();
    y.dispose();
  };
  const result = await paired(forward(plain), forward(adapt(model, [])), turns);
  console.log(show(`${name}, merged, forward`, result, 1.01));
  tf.dispose([...merged.values()]);
}

const Memory = z.strictObject({ idle: z.number(), peak: z.number() });

/** Resident memory at the peak of training, each side a process of its own, garbage collected after every step. */
async function memory(name: string): Promise<void> {
  const of = (side: string) => inProcessOfItsOwn(['gift', '--backbones', name, '--child', side], Memory);
  const base = await of(LORA);
  for (const side of Object.keys(sides)) {
    const own = await of(side);
    const ratio = own.peak / base.peak;
    const MB = (bytes: number) => (bytes / 1e6).toFixed(0);
    console.log(`${`${name}, ${side}, memory`.padEnd(44)} ${ratio.toFixed(3)}${ratio > MEMORY_GOAL ? ' MISSED' : ''}  (${MB(own.peak)} / ${MB(base.peak)} MB at the peak of ${MEMORY_STEPS} steps, ${MB(own.idle)} / ${MB(base.idle)} before)`);
  }
}

async function memoryChild(name: string, side: string): Promise<void> {
  const kind = backbone(name);
  const model = kind.build(kind.sizes.small, initialised(0));
  const batch = madeUpBatch();
  const inputs = model.inputs(batch);
  const idle = process.memoryUsage.rss();
  const { run } = step(model, side, inputs, tf.tensor2d(batch.targets, [batch.ids.length, batch.answers]), batch);
  for (let i = 0; i < MEMORY_STEPS; i++) {
    await run();
    globalThis.gc?.();
  }
  console.log(JSON.stringify({ idle, peak: await peakMemory() }));
}
