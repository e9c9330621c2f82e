import { parseArgs } from 'node:util';
import { adapt, activationMemory, type Plugin } from '@espalier/core';
import { selectBackend } from '@espalier/core/backend';
import { lora } from '@espalier/lora';
import { spottune } from '@espalier/spottune';
import { paired, show } from './paired.ts';
import { comparePeaks, learning, passing, printPeak, scaleOf, scaleOptions, setUp, type Scale, type Turns } from './training.ts';

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
  'LoRA r8 tuned, scheme A': { plugins: () => [spottune({ ...half, copies: false }), lora({ rank: 8 })], goal: Infinity },
  'LoRA r8 tuned, scheme C, M = 4': { plugins: () => [spottune({ ...half, copies: false, counterfactual: { every: 4 } }), lora({ rank: 8 })], goal: 0.8 },
  'spottune_block, dense': { plugins: () => [spottune({ ...half, executor: 'dense' })], goal: Infinity },
};
const MEMORY_GOAL = 1.2;

/**
 * What adaptive fine-tuning costs: a forward pass against the plain model's, a training step and its memory against standard
 * fine-tuning of the same blocks (gradients, without the optimiser). Gates open for half of the samples where nothing else
 * is said. A turn of a side holds four steps, so that scheme C's dear one is in each.
 *
 * And a training step of the last blocks, all below them read from a cache, against the same without it.
 *
 *   npm run bench -- spottune [--backbones vl-bert,lxmert] [--pairs 31] [--only forward|training|memory|cache] [--size small|base] [--batch 32]
 */
export async function spottuneSteps(args: string[]): Promise<void> {
  const { values } = parseArgs({
    args, options: { backbones: { type: 'string', default: 'vl-bert,lxmert' }, pairs: { type: 'string', default: '31' }, only: { type: 'string' }, child: { type: 'string' }, ...scaleOptions },
  });
  const { name } = await selectBackend();
  const chosen = values.backbones.split(',');
  const scale = scaleOf(values);
  if (values.child !== undefined) return printPeak(setUp(chosen[0]!, scale), scale, steps[values.child]!.plugins());
  const turns = { pairs: Number(values.pairs), each: 4 };
  const does = (part: string) => values.only === undefined || values.only === part;
  console.log(`adaptive fine-tuning (batch ${scale.batch}, size ${scale.size}, ${name}, ${turns.pairs} pairs of ${turns.each})`);
  for (const backboneName of chosen) {
    if (does('forward')) await forward(backboneName, scale, turns);
    if (does('training')) await training(backboneName, scale, turns);
    if (does('memory')) await comparePeaks('spottune', backboneName, scale, Object.keys(steps), MEMORY_GOAL);
    if (does('cache')) await cached(backboneName, scale, turns);
  }
}

async function forward(name: string, scale: Scale, turns: Turns): Promise<void> {
  const setup = setUp(name, scale);
  const plain = adapt(setup.model, []);
  for (const [side, { plugins, goal }] of Object.entries(forwards)) {
    const own = adapt(setup.model, plugins());
    console.log(show(`${name}, forward, ${side}`, await paired(passing(own, setup), passing(plain, setup), turns), goal));
    own.dispose();
  }
  setup.dispose();
}

async function training(name: string, scale: Scale, turns: Turns): Promise<void> {
  const setup = setUp(name, scale);
  const base = learning(setup, steps[STANDARD]!.plugins());
  for (const [side, { plugins, goal }] of Object.entries(steps)) {
    if (side === STANDARD) continue;
    const own = learning(setup, plugins());
    console.log(show(`${name}, training, ${side}`, await paired(own.run, base.run, turns), goal));
    own.dispose();
  }
  base.dispose();
  setup.dispose();
}

/** Later epochs of training the last k of L blocks: with a cache k forward and 2 k backward of L + 2 k, in units of a block. */
async function cached(name: string, scale: Scale, turns: Turns): Promise<void> {
  const setup = setUp(name, scale);
  const blocks = setup.model.scope.points.stage.filter((s) => s.role === 'block').length;
  for (const last of [1, 2]) {
    const plugins = () => [spottune({ strategy: 'last_k', last })];
    const [own, base] = [learning(setup, plugins(), activationMemory()), learning(setup, plugins())];
    // Blocks of a stack of one stream are not as dear as those that cross: the goal is VL-BERT's.
    const goal = name === 'vl-bert' ? (1.05 * 3 * last) / (blocks + 2 * last) : Infinity;
    console.log(show(`${name}, last ${last} of ${blocks} blocks, cached`, await paired(own.run, base.run, turns), goal));
    own.dispose();
    base.dispose();
  }
  setup.dispose();
}
