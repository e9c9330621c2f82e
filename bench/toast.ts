import { spawn } from 'node:child_process';
import { parseArgs } from 'node:util';
import * as tf from '@tensorflow/tfjs';
import { adapt, tensorsIn, totalMacs, type Adapted, type Plugin } from '@espalier/core';
import { selectBackend } from '@espalier/core/backend';
import { lora } from '@espalier/lora';
import { composeFeedback, toast } from '@espalier/toast';
import { answerLoss } from '@espalier/train';
import { tune } from '@espalier/tune';
import { backbone, disposeModel, initialised, type VqaModel } from '@espalier/vl-models';
import { madeUpBatch } from './batch.ts';
import { peakMemory } from './load.ts';
import { paired, show } from './paired.ts';

/** Small LXMERT has 3 + 2 blocks of one stream before its cross blocks, VL-BERT 4 blocks. */
const NAMES = ['lxmert', 'vl-bert'] as const;
const sides: Readonly<Record<string, () => Plugin>> = { lora: () => lora({ rank: 8 }), toast: () => toast(), lite: () => toast({ feedback: 'lite' }) };

/**
 * What TOAST costs: forward passes against the plain model, with the ratio of multiply-adds beside it, training steps against
 * those of LoRA r8, and the peak memory of a process that trains.
 *
 *   npm run bench -- toast [--pairs 21]
 */
export async function toastSteps(args: string[]): Promise<void> {
  const { values } = parseArgs({ args, options: { pairs: { type: 'string', default: '21' }, child: { type: 'string' } } });
  if (values.child !== undefined) return trainAlone(values.child);
  const pairs = Number(values.pairs);
  console.log(`TOAST, batch 32, size small, ${(await selectBackend()).name}`);
  for (const name of NAMES) {
    const setup = setUp(name);
    await forwards(name, setup, pairs);
    await steps(name, setup, pairs);
    setup.dispose();
  }
  for (const name of NAMES) await memory(name);
}

interface Setup {
  readonly model: VqaModel<unknown>;
  readonly inputs: unknown;
  readonly targets: tf.Tensor2D;
  readonly samples: readonly string[];
  readonly answers: number;
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
  return { model, inputs, targets, samples: batch.ids, answers: batch.answers, dispose };
}

/** A forward pass against the plain one. Bounds are those of 2.17 and 1.39 forward passes that 12 blocks cost, with room. */
async function forwards(name: string, { model, inputs }: Setup, pairs: number): Promise<void> {
  const blocks = model.scope.points.stage.filter((s) => s.role === 'block').length;
  const late = Math.ceil((2 * blocks) / 3);
  const plain = adapt(model, []);
  const whole = adapt(model, [toast({ to: 0 })]);
  const rows: readonly (readonly [string, Adapted<unknown>, number])[] = [
    ['every block', whole, 2.25],
    ['every block, multiplied out', composeFeedback(whole), 2.25],
    ['every block, Lite', adapt(model, [toast({ to: 0, feedback: 'lite' })]), 2.25],
    [`late, from block ${late} of ${blocks}`, adapt(model, [toast({ to: late })]), 1.45],
    ['as by default', adapt(model, [toast()]), Infinity],
  ];
  const base = totalMacs(await plain.account(inputs));
  for (const [side, adapted, bound] of rows) {
    const result = await paired(forward(adapted, inputs), forward(plain, inputs), { pairs });
    console.log(`${show(`${name}, forward, ${side}`, result)}  multiply-adds ${(totalMacs(await adapted.account(inputs)) / base).toFixed(3)}`);
    if (result.low > bound) process.exitCode = 1;
  }
  for (const [, adapted] of rows) adapted.dispose();
}

const forward = (adapted: Adapted<unknown>, inputs: unknown) => async () => {
  const y = await adapted.forward(inputs);
  await y.data();
  y.dispose();
};

/** A training step against one of LoRA r8, nothing kept from step to step. */
async function steps(name: string, setup: Setup, pairs: number): Promise<void> {
  const base = training(setup, sides['lora']!());
  for (const side of ['toast', 'lite']) {
    const own = training(setup, sides[side]!());
    console.log(show(`${name}, training step, ${side}`, await paired(own.run, base.run, { pairs })));
    own.dispose();
  }
  base.dispose();
}

function training({ model, inputs, targets, samples, answers }: Setup, plugin: Plugin) {
  const adapted = adapt(model, [plugin, tune({ preset: 'head', answers }, { as: 'head' })]);
  const learner = adapted.learner<tf.Tensor2D>({ loss: answerLoss });
  let count = 0;
  return {
    run: async () => {
      const lesson = await learner.learn(inputs, targets, { seed: 0, step: count++, samples });
      await lesson.scalars.data();
      lesson.dispose();
    },
    dispose: () => {
      learner.dispose();
      adapted.dispose();
    },
  };
}

/** Resident memory at the peak of a process that trains, above what it had with model and batch; against LoRA's. */
async function memory(name: string): Promise<void> {
  const [own, base] = [await grown(`${name}/toast`), await grown(`${name}/lora`)];
  const ratio = own / base;
  console.log(`${`${name}, peak memory of training, toast`.padEnd(44)} ${ratio.toFixed(3)}  (${(own / 2 ** 20).toFixed(0)} / ${(base / 2 ** 20).toFixed(0)} MiB above model and batch)`);
  if (ratio > 1.3) process.exitCode = 1;
}

function grown(child: string): Promise<number> {
  return new Promise((resolve, reject) => {
    const process_ = spawn(process.execPath, [process.argv[1]!, 'toast', '--child', child], { stdio: ['ignore', 'pipe', 'inherit'] });
    let printed = '';
    process_.stdout.on('data', (chunk: Buffer) => (printed += chunk.toString()));
    process_.on('error', reject);
    process_.on('close', (code) => (code === 0 ? resolve(Number(printed.trim().split('\n').at(-1))) : reject(new Error(`the process that trains ended with ${code}`))));
  });
}

async function trainAlone(child: string): Promise<void> {
  const [name = '', side = ''] = child.split('/');
  const make = sides[side];
  if (!make) throw new Error(`no side '${side}'. There are ${Object.keys(sides).join(', ')}.`);
  await selectBackend();
  const setup = setUp(name);
  const idle = process.memoryUsage.rss();
  const { run, dispose } = training(setup, make());
  for (let i = 0; i < 5; i++) await run();
  dispose();
  setup.dispose();
  console.log(await peakMemory() - idle);
}
