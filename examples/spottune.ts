import { adapt, tensorsIn, type Plugin } from '@espalier/core';
import { selectBackend } from '@espalier/core/backend';
import { lora } from '@espalier/lora';
import { decisionsOf, spottune, usageOf, type Decisions } from '@espalier/spottune';
import { adamW, fit } from '@espalier/train';
import { tune } from '@espalier/tune';
import * as tf from '@tensorflow/tfjs';
import { tinyTask } from './tiny-task.ts';

/* Samples that choose between tuned and pretrained blocks of a tiny LXMERT, and how they choose. node examples/dist/spottune.js */
await selectBackend();
const { model, task, answers } = tinyTask('lxmert');
const head = tune({ preset: 'head', answers }, { as: 'head' });
const budget = { kind: 'target', rate: 0.5 } as const;
const choices: Readonly<Record<string, readonly Plugin[]>> = {
  'SpotTune by block': [spottune({ estimator: 'reinmax', budget }), head],
  'by head and component': [spottune({ strategy: 'spottune', estimator: 'reinmax', budget }), head],
  'one mask for all': [spottune({ strategy: 'global', estimator: 'reinmax', budget }), head],
  'with or without a LoRA': [spottune({ copies: false, estimator: 'reinmax', budget }), lora(), head],
};
for (const [name, plugins] of Object.entries(choices)) {
  const adapted = adapt(model, plugins);
  const losses: number[] = [];
  const optimisers = { default: { method: adamW(), rate: 2e-3 }, policy: { method: adamW(), rate: 1e-2 } };
  const run = fit(adapted, task, { optimisers, epochs: 4 });
  run.events.subscribe((e) => e.type === 'epoch' && losses.push(e.loss));
  await run.done;
  const found: Decisions[] = [];
  for await (const batch of task.batches(1, 0)) {
    const inputs = task.inputs(batch);
    found.push(await decisionsOf(adapted, inputs, { samples: batch.ids }));
    tf.dispose(tensorsIn(inputs));
  }
  const { open, policies, used } = usageOf(adapted, found, { text: 12, vision: 8 });
  console.log(`${name.padEnd(22)} loss ${losses[0]!.toFixed(3)} -> ${losses.at(-1)!.toFixed(3)}, ${open.mean.toFixed(1)} of ${used.length} gates open, different decisions: ${policies}`);
  adapted.dispose();
}
