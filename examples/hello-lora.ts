import { adapt } from '@espalier/core';
import { selectBackend } from '@espalier/core/backend';
import { lora } from '@espalier/lora';
import { adamW, fit } from '@espalier/train';
import { tune } from '@espalier/tune';
import { tinyTask } from './tiny-task.ts';

/* LoRA on a tiny LXMERT: the plan, what is trained, the loss before and after. node examples/dist/hello-lora.js */
await selectBackend();
const { model, task, answers } = tinyTask();
const adapted = adapt(model, [lora({ rank: 4 }), tune({ preset: 'head', answers }, { as: 'head' })]);
console.log(adapted.explain());
const trainable = adapted.trainable.reduce((n, p) => n + p.variable.size, 0);
console.log(`${trainable} trainable parameters in ${adapted.trainable.length} variables`);

const losses: number[] = [];
const run = fit(adapted, task, { optimisers: { default: { method: adamW(), rate: 3e-3 } }, epochs: 6 });
run.events.subscribe((e) => e.type === 'epoch' && losses.push(e.loss));
await run.done;
console.log(`loss by epoch: ${losses.map((x) => x.toFixed(3)).join(', ')}`);
