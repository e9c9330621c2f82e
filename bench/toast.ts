import { parseArgs } from 'node:util';
import { adapt, activationMemory, totalMacs, type Adapted, type Plugin } from '@espalier/core';
import { selectBackend } from '@espalier/core/backend';
import { lora } from '@espalier/lora';
import { composeFeedback, toast } from '@espalier/toast';
import { paired, show } from './paired.ts';
import { comparePeaks, learning, passing, printPeak, scaleOf, scaleOptions, setUp, type Setup, type Turns } from './training.ts';

const LORA = 'lora r8';
const sides: Readonly<Record<string, () => Plugin>> = { [LORA]: () => lora({ rank: 8 }), toast: () => toast(), 'toast, Lite': () => toast({ feedback: 'lite' }) };
/** 12 blocks cost 2.17 forward passes whole and 1.39 from two thirds on. */
const GOALS = { whole: 2.25, late: 1.45, cached: 0.75, memory: 1.3 };

/**
 * What TOAST costs: forward passes against the plain model, with the ratio of multiply-adds beside it; training steps and their
 * memory at the peak against LoRA r8, as it is and with the first pass and what both passes share read from a cache.
 *
 *   npm run bench -- toast [--backbones lxmert,vl-bert] [--pairs 31] [--each 4] [--only forward|training|memory] [--size small|base] [--batch 32]
 */
export async function toastSteps(args: string[]): Promise<void> {
  const { values } = parseArgs({
    args,
    options: { backbones: { type: 'string', default: 'lxmert,vl-bert' }, pairs: { type: 'string', default: '31' }, each: { type: 'string', default: '4' }, only: { type: 'string' }, child: { type: 'string' }, ...scaleOptions },
  });
  const { name } = await selectBackend();
  const chosen = values.backbones.split(',');
  const scale = scaleOf(values);
  if (values.child !== undefined) return printPeak(setUp(chosen[0]!, scale), scale, [sides[values.child]!()]);
  const turns = { pairs: Number(values.pairs), each: Number(values.each) };
  const does = (part: string) => values.only === undefined || values.only === part;
  console.log(`TOAST (batch ${scale.batch}, size ${scale.size}, ${name}, ${turns.pairs} pairs of ${turns.each})`);
  for (const one of chosen) {
    const setup = setUp(one, scale);
    if (does('forward')) await forwards(one, setup, turns);
    if (does('training')) await training(one, setup, turns);
    setup.dispose();
    if (does('memory')) await comparePeaks('toast', one, scale, Object.keys(sides), GOALS.memory);
  }
}

async function forwards(name: string, setup: Setup, turns: Turns): Promise<void> {
  const { model, inputs } = setup;
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
    const result = await paired(passing(adapted, setup), passing(plain, setup), turns);
    console.log(`${show(`${name}, forward, ${side}`, result, goal)}  multiply-adds ${(totalMacs(await adapted.account(inputs)) / base).toFixed(3)}`);
  }
  for (const [, adapted] of rows) adapted.dispose();
}

async function training(name: string, setup: Setup, turns: Turns): Promise<void> {
  const base = learning(setup, [sides[LORA]!()]);
  for (const [side, plugin] of Object.entries(sides)) {
    if (side === LORA) continue;
    const own = learning(setup, [plugin()]);
    console.log(show(`${name}, training, ${side}`, await paired(own.run, base.run, turns), Infinity));
    own.dispose();
    const cached = learning(setup, [plugin()], activationMemory());
    for (let i = 0; i < 3; i++) await cached.run(); // computed, compared, read
    console.log(show(`${name}, training, ${side}, cached`, await paired(cached.run, base.run, turns), name === 'lxmert' ? GOALS.cached : Infinity));
    cached.dispose();
  }
  base.dispose();
}
