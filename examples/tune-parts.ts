import { adapt, type Plugin } from '@espalier/core';
import { selectBackend } from '@espalier/core/backend';
import { adamW, fit } from '@espalier/train';
import { tune } from '@espalier/tune';
import { tinyTask } from './tiny-task.ts';

/* What tune can make trainable, from the head to everything, on a tiny VL-BERT. node examples/dist/tune-parts.js */
await selectBackend();
const { model, task, answers } = tinyTask('vl-bert');
const head = tune({ preset: 'head', answers }, { as: 'head' });
const choices: Readonly<Record<string, readonly Plugin[]>> = {
  'head only': [head],
  'biases (BitFit)': [head, tune({ preset: 'bitfit' })],
  'last block': [head, tune({ preset: 'last', last: 1 })],
  everything: [head, tune({ preset: 'all' })],
};
for (const [name, plugins] of Object.entries(choices)) {
  const adapted = adapt(model, plugins);
  const trainable = adapted.trainable.reduce((n, p) => n + p.variable.size, 0);
  const losses: number[] = [];
  const run = fit(adapted, task, { optimisers: { default: { method: adamW(), rate: 2e-3 } }, epochs: 4 });
  run.events.subscribe((e) => e.type === 'epoch' && losses.push(e.loss));
  await run.done;
  console.log(`${name.padEnd(16)} ${String(trainable).padStart(7)} parameters, loss ${losses[0]!.toFixed(3)} -> ${losses.at(-1)!.toFixed(3)}`);
  adapted.dispose();
}
