import { parseArgs } from 'node:util';
import * as tf from '@tensorflow/tfjs';
import { adapt, type Plugin } from '@espalier/core';
import { selectBackend } from '@espalier/core/backend';
import { gift } from '@espalier/gift';
import { lora } from '@espalier/lora';
import { backbone, backbones, type VqaModel } from '@espalier/vl-models';
import { paired, show } from './paired.ts';
import { comparePeaks, learning, passing, printPeak, scaleOf, scaleOptions, setUp, type Scale, type Setup, type Turns } from './training.ts';

const LORA = 'lora r8';
const at = { role: ['attention.output', 'cross.output'] } as const;
const sides: Readonly<Record<string, { readonly plugin: () => Plugin; readonly goal: number }>> = {
  'gift r16': { plugin: () => gift(), goal: 1.05 },
  'gift r16, low-rank form': { plugin: () => gift({ form: 'low-rank' }), goal: Infinity },
  'gift r16, PaCa': { plugin: () => gift({ generator: 'paca' }), goal: 1.15 },
};
const MEMORY_GOAL = 1.05;

/**
 * A training step of GIFT against one of LoRA r8 at the same places, in time and in memory at the peak; a forward pass of the
 * merged model against the plain one.
 *
 *   npm run bench -- gift [--backbones lxmert,vl-bert] [--pairs 41] [--each 4] [--only time|memory] [--size small|base] [--batch 32]
 */
export async function giftSteps(args: string[]): Promise<void> {
  const { values } = parseArgs({
    args,
    options: { backbones: { type: 'string', default: [...backbones.keys()].join(',') }, pairs: { type: 'string', default: '41' }, each: { type: 'string', default: '4' }, only: { type: 'string' }, child: { type: 'string' }, ...scaleOptions },
  });
  const name = (await selectBackend()).name;
  const chosen = values.backbones.split(',');
  const scale = scaleOf(values);
  if (values.child !== undefined) {
    const setup = setUp(chosen[0]!, scale);
    return printPeak(setup, scale, pluginsOf(values.child, setup.model));
  }
  const turns = { pairs: Number(values.pairs), each: Number(values.each) };
  console.log(`GIFT against LoRA r8 at the outputs of attention, merged against plain (batch ${scale.batch}, size ${scale.size}, ${name}, ${turns.pairs} pairs of ${turns.each})`);
  for (const one of chosen) {
    if (values.only !== 'memory') await times(one, scale, turns);
    if (values.only !== 'time') await comparePeaks('gift', one, scale, [LORA, ...Object.keys(sides)], MEMORY_GOAL);
  }
}

async function times(name: string, scale: Scale, turns: Turns): Promise<void> {
  const setup = setUp(name, scale);
  const base = learning(setup, pluginsOf(LORA, setup.model));
  for (const [side, { goal }] of Object.entries(sides)) {
    const own = learning(setup, pluginsOf(side, setup.model));
    console.log(show(`${name}, ${side}`, await paired(own.run, base.run, turns), goal));
    own.dispose();
  }
  base.dispose();
  await forwards(name, scale.size, setup, turns);
  setup.dispose();
}

function pluginsOf(side: string, { scope }: VqaModel<unknown>): Plugin[] {
  const there = { role: at.role.filter((role) => scope.points.linear.some((w) => w.role === role)) };
  return [side === LORA ? lora({ rank: 8, at: there }) : sides[side]!.plugin()];
}

/** A model built from merged weights against the plain one. */
async function forwards(name: string, size: Scale['size'], setup: Setup, turns: Turns): Promise<void> {
  const { model } = setup;
  const { build, sizes } = backbone(name);
  const adapted = adapt(model, [gift()]);
  const merged = await adapted.merge();
  adapted.dispose();
  const own = adapt(build(sizes[size], (path) => merged.get(path)!), []);
  console.log(show(`${name}, merged, forward`, await paired(passing(own, setup), passing(adapt(model, []), setup), turns), 1.01));
  tf.dispose([...merged.values()]);
}
