import { adapt, tensorsIn, type Adapted } from '@espalier/core';
import { selectBackend } from '@espalier/core/backend';
import { componentLogits, componentOf, compose, influence, remove, setTangents, tangent, type Component } from '@espalier/tangent';
import { adam, fit, rescaledSquare, softAccuracy } from '@espalier/train';
import { tune } from '@espalier/tune';
import * as tf from '@tensorflow/tfjs';
import { tinyTask } from './tiny-task.ts';

/* Tangents of a tiny LXMERT trained apart, composed, and one taken out again. node examples/dist/tangent.js */
await selectBackend();
const SHARDS = 3;
const { model, task, answers } = tinyTask('lxmert');
const plugins = () => [tune({ preset: 'head', answers }, { as: 'head', trainable: false }), tangent({ lastK: 1 })];
const loss = rescaledSquare({ kappa: 5 });

const components: Component[] = [];
for (let index = 0; index < SHARDS; index++) {
  const adapted = adapt(model, plugins());
  const losses: number[] = [];
  // Every third batch is a shard of its own.
  const own = { ...task, loss, batchesPerEpoch: task.batchesPerEpoch / SHARDS, batches: (_: number, from: number) => every(task.batches(0, 0), SHARDS, index, from) };
  const run = fit(adapted, own, { optimisers: { default: { method: adam(), rate: 3e-3 } }, epochs: 40, clip: Infinity });
  run.events.subscribe((e) => e.type === 'epoch' && losses.push(e.loss));
  await run.done;
  components.push(await componentOf(adapted, { id: `shard-${index + 1}`, shard: { index, of: SHARDS, by: 'random', seed: 0, samples: 32 } }));
  console.log(`shard ${index + 1}: loss ${losses[0]!.toFixed(2)} -> ${losses.at(-1)!.toFixed(2)}`);
  adapted.dispose();
}

const all = compose(components);
const adapted = adapt(model, plugins());
for (const [name, tensors] of [...components.map((c) => [c.id, c.tensors] as const), ['all composed', all.tensors] as const, ['without shard-2', remove(all, 'shard-2').tensors] as const]) {
  setTangents(adapted, tensors);
  console.log(`${name.padEnd(16)} accuracy ${(100 * (await accuracy(adapted))).toFixed(1)} % of all questions`);
}
for (const { id } of components) console.log(`influence of ${id}: ${influence(all, id).toFixed(3)}`);

setTangents(adapted, all.tensors);
for await (const batch of task.batches(0, 0)) {
  const inputs = task.inputs(batch);
  const { base, of } = await componentLogits(adapted, inputs, components);
  const whole = await adapted.forward(inputs);
  const mean = tf.tidy(() => tf.div(tf.addN([...of.values()]), of.size));
  const off = tf.tidy(() => tf.max(tf.abs(tf.sub(mean, whole))).dataSync()[0]!);
  console.log(`the mean of the components' outputs is the output of their mean, up to ${off.toExponential(1)}`);
  tf.dispose([base, whole, mean, ...of.values(), ...tensorsIn(inputs)]);
  break;
}
adapted.dispose();

async function accuracy(of: Adapted<unknown>): Promise<number> {
  let [sum, count] = [0, 0];
  for await (const batch of task.batches(0, 0)) {
    const [inputs, targets] = [task.inputs(batch), tf.tensor2d(batch.targets, [batch.ids.length, batch.answers])];
    const y = await of.forward(inputs);
    sum += batch.ids.length * tf.tidy(() => softAccuracy(y, targets).dataSync()[0]!);
    count += batch.ids.length;
    tf.dispose([y, targets, ...tensorsIn(inputs)]);
  }
  return sum / count;
}

/** Items first, first + step, ...; from the `from`-th of them on. */
async function* every<T>(items: AsyncIterable<T>, step: number, first: number, from: number): AsyncGenerator<T> {
  let i = 0;
  for await (const item of items) {
    if (i % step === first && Math.floor(i / step) >= from) yield item;
    i++;
  }
}
