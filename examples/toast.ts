import { adapt, tensorsIn } from '@espalier/core';
import { selectBackend } from '@espalier/core/backend';
import { toast } from '@espalier/toast';
import { adamW, fit } from '@espalier/train';
import { tune } from '@espalier/tune';
import * as tf from '@tensorflow/tfjs';
import { tinyTask } from './tiny-task.ts';

/* TOAST on a tiny LXMERT: whole, of low rank, from a late block on, and with a task vector that reads the question. node examples/dist/toast.js */
await selectBackend();
const { model, task, answers } = tinyTask('lxmert');
const choices: Readonly<Record<string, Parameters<typeof toast>[0]>> = {
  'cross blocks': {},
  'Lite, cross blocks': { feedback: 'lite' },
  'every block': { to: 0 },
  'asked by the question': { task: 'question' },
};
for (const [name, options] of Object.entries(choices)) {
  const adapted = adapt(model, [toast(options), tune({ preset: 'head', answers }, { as: 'head' })]);
  const own = adapted.trainable.filter((p) => p.instance === 'toast').reduce((n, p) => n + p.variable.size, 0);
  const losses: number[] = [];
  const run = fit(adapted, task, { optimisers: { default: { method: adamW(), rate: 3e-3 } }, epochs: 10 });
  run.events.subscribe((e) => e.type === 'epoch' && losses.push(e.loss));
  await run.done;
  console.log(`${name.padEnd(22)} ${String(own).padStart(6)} parameters, loss ${losses[0]!.toFixed(4)} -> ${losses.at(-1)!.toFixed(4)}`);
  for await (const batch of task.batches(1, 0)) {
    const inputs = task.inputs(batch);
    const rows = await adapted.account(inputs);
    const total = rows.reduce((n, r) => n + r.macs, 0);
    console.log(`  ${(total / 1e6).toFixed(2)} million multiply-adds, ${(100 * rows.filter((r) => r.instance === 'toast').reduce((n, r) => n + r.macs, 0) / total).toFixed(1)} % of them the way down`);
    tf.dispose(tensorsIn(inputs));
    break;
  }
  adapted.dispose();
}
