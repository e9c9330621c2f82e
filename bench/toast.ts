import { parseArgs } from 'node:util';
import * as tf from '@tensorflow/tfjs';
import { adapt, memoryStore, tensorsIn, totalMacs, type ActivationStore, type Adapted, type Plugin } from '@espalier/core';
import { selectBackend } from '@espalier/core/backend';
import { lora } from '@espalier/lora';
import { composeFeedback, toast } from '@espalier/toast';
import { answerLoss } from '@espalier/train';
import { tune } from '@espalier/tune';
import { backbone, disposeModel, initialised, type VqaModel } from '@espalier/vl-models';
import { z } from 'zod';
import { madeUpBatch } from './batch.ts';
import { inProcessOfItsOwn, peakMemory } from './memory.ts';
import { paired, show } from './paired.ts';

const LORA = 'lora r8';
const sides: Readonly<Record<string, () => Plugin>> = { [LORA]: () => lora({ rank: 8 }), toast: () => toast(), 'toast, Lite': () => toast({ feedback: 'lite' }) };
/** 12 blocks cost 2.17 forward passes whole and 1.39 from two thirds on. */
const GOALS = { whole: 2.25, late: 1.45, cached: 0.75, memory: 1.3 };
const MEMORY_STEPS = 40;

type Turns = { readonly pairs: number; readonly each: number };

/**
 * What TOAST costs: forward passes against the plain model, with the ratio of multiply-adds beside it; training steps and their
 * memory at the peak against LoRA r8, as it is and with the first pass and what both passes share read from a cache. Batch 32, size small.
 *
 *   npm run bench -- toast [--backbones lxmert,vl-bert] [--pairs 31] [--each 4] [--only forward|training|memory]
 */
export async function toastSteps(args: string[]): Promise<void> {
  const { values } = parseArgs({
    args,
    options: { backbones: { type: 'string', default: 'lxmert,vl-bert' }, pairs: { type: 'string', default: '31' }, each: { type: 'string', default: '4' }, only: { type: 'string' }, child: { type: 'string' } },
  });
  const { name } = await selectBackend();
  const chosen = values.backbones.split(',');
  if (values.child !== undefined) return memoryChild(chosen[0]!, values.child);
  const turns = { pairs: Number(values.pairs), each: Number(values.each) };
  const does = (part: string) => values.only === undefined || values.only === part;
  console.log(`TOAST (batch 32, size small, ${name}, ${turns.pairs} pairs of ${turns.each})`);
  for (const one of chosen) {
    const setup = setUp(one);
    if (does('forward')) await forwards(one, setup, turns);
    if (does('training')) await training(one, setup, turns);
    setup.dispose();
    if (does('memory')) await memory(one);
  }
}

interface Setup {
  readonly model: VqaModel<unknown>;
  readonly inputs: unknown;
  readonly targets: tf.Tensor2D;
  readonly batch: ReturnType<typeof madeUpBatch>;
  dispose(): void;
}

function setUp(name: string): Setup {
  const kind = backbone(name);
  const model = kind.build(kind.sizes.small, initialised(0));
  const batch = madeUpBatch();
  const [inputs, targets] = [model.inputs(batch), tf.tensor2d(batch.targets, [batch.ids.length, batch.answers])];
  const dispose = () => {
    tf.dispose([targets, ...tensorsIn(inputs)]);
    disposeModel(model.scope);
  };
  return { model, inputs, targets, batch, dispose };
}

async function forwards(name: string, { model, inputs }: Setup, turns: Turns): Promise<void> {
  const blocks = model.scope.points.stage.filter((s) => s.role === 'block').length;
  const late = Math.ceil((2 * blocks) / 3);
  const plain = adapt(model, []);
  const whole = adapt(model, [toast({ to: 0 })]);
  const rows: readonly (readonly [string, Adapted<unknown>, number])[] = [
    ['every block', whole, GOALS.whole],
    ['every block, multiplied out', composeFeedback(whole), GOALS.whole],
    ['every block, Lite', adapt(model, [toast({ to: 0, feedback: 'lite' })]), GOALS.whole],
    [`from block ${late} of ${blocks}`, adapt(model, [toast({ to: late })]), GOALS.late],
    ['by default', adapt(model, [toast()]), GOALS.whole],
  ];
  const base = totalMacs(await plain.account(inputs));
  for (const [side, adapted, goal] of rows) {
    const result = await paired(forward(adapted, inputs), forward(plain, inputs), turns);
    console.log(`${show(`${name}, forward, ${side}`, result, goal)}  multiply-adds ${(totalMacs(await adapted.account(inputs)) / base).toFixed(3)}`);
  }
  for (const [, adapted] of rows) adapted.dispose();
}

const forward = (adapted: Adapted<unknown>, inputs: unknown) => async () => {
  const y = await adapted.forward(inputs);
  await y.data();
  y.dispose();
};

async function training(name: string, setup: Setup, turns: Turns): Promise<void> {
  const base = learning(setup, LORA);
  for (const side of Object.keys(sides)) {
    if (side === LORA) continue;
    const own = learning(setup, side);
    console.log(show(`${name}, training, ${side}`, await paired(own.run, base.run, turns), Infinity));
    own.dispose();
    const cached = learning(setup, side, memoryStore());
    for (let i = 0; i < 3; i++) await cached.run(); // computed, compared, read
    console.log(show(`${name}, training, ${side}, cached`, await paired(cached.run, base.run, turns), name === 'lxmert' ? GOALS.cached : Infinity));
    cached.dispose();
  }
  base.dispose();
}

function learning({ model, inputs, targets, batch }: Setup, side: string, cache?: ActivationStore) {
  const adapted = adapt(model, [sides[side]!(), tune({ preset: 'head', answers: batch.answers }, { as: 'head' })]);
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
  const of = (side: string) => inProcessOfItsOwn(['toast', '--backbones', name, '--child', side], Memory);
  const base = await of(LORA);
  for (const side of Object.keys(sides)) {
    if (side === LORA) continue;
    const own = await of(side);
    const ratio = own.peak / base.peak;
    const MB = (bytes: number) => (bytes / 1e6).toFixed(0);
    console.log(`${`${name}, ${side}, memory`.padEnd(44)} ${ratio.toFixed(3)}${ratio > GOALS.memory ? ' MISSED' : ''}  (${MB(own.peak)} / ${MB(base.peak)} MB at the peak of ${MEMORY_STEPS} steps, ${MB(own.idle)} / ${MB(base.idle)} before)`);
  }
}

async function memoryChild(name: string, side: string): Promise<void> {
  const setup = setUp(name);
  const idle = process.memoryUsage.rss();
  const { run } = learning(setup, side);
  for (let i = 0; i < MEMORY_STEPS; i++) {
    await run();
    globalThis.gc?.();
  }
  console.log(JSON.stringify({ idle, peak: await peakMemory() }));
}
