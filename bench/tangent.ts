import * as tf from '@tensorflow/tfjs';
import { adapt, activationMemory, tensorsIn, type Adapted, type Learner, type Plugin } from '@espalier/core';
import { selectBackend } from '@espalier/core/backend';
import { cachedLearner, componentOf, compose, privateLearner, remove, tangent, type Component } from '@espalier/tangent';
import { rescaledSquare } from '@espalier/train';
import { tune } from '@espalier/tune';
import { backbone, disposeModel, initialised } from '@espalier/vl-models';
import { madeUpBatch } from './batch.ts';
import { median, paired, show } from './paired.ts';

const loss = rescaledSquare();
const plan = { samples: 1000, rate: 0.032, steps: 100, noiseMultiplier: 1, clip: 10, delta: 1e-4 };

/** Training steps and passes of tangents against a plain forward pass of the same model, twelve blocks of the small width; removal against a copy. */
export async function tangentSteps(): Promise<void> {
  console.log(`against a plain forward pass of the same VL-BERT of 12 blocks (width of size small, batch 32, ${(await selectBackend()).name})`);
  const { build, sizes } = backbone('vl-bert');
  const model = build({ ...Object(sizes.small), num_hidden_layers: 12 }, initialised(0));
  const batch = madeUpBatch();
  const [inputs, targets] = [model.inputs(batch), tf.tensor2d(batch.targets, [batch.ids.length, batch.answers])];
  const head = (trainable = false) => tune({ preset: 'head', answers: batch.answers }, { as: 'head', trainable });
  const on = (...plugins: Plugin[]) => adapt(model, plugins);
  const [plain, all, last, tuned] = [on(head()), on(head(), tangent()), on(head(), tangent({ lastK: 1 })), on(tune({ preset: 'all' }), head(true))];
  const key = { seed: 0, samples: batch.ids };
  const learning = (learner: Learner<unknown, tf.Tensor2D>) => {
    let step = 0;
    return async () => {
      const lesson = await learner.learn(inputs, targets, { ...key, step: step++ });
      await lesson.scalars.data();
      lesson.dispose();
    };
  };
  const forward = (adapted: Adapted<unknown>) => async () => {
    const y = await adapted.forward(inputs);
    await y.data();
    y.dispose();
  };
  const base = forward(plain);
  const rows: readonly (readonly [name: string, side: () => Promise<void>, bound: number, against?: () => Promise<void>])[] = [
    ['training, everything tuned, not linear', learning(tuned.learner({ loss })), Infinity],
    ['training, everything linear', learning(all.learner({ loss })), 5.5],
    ['training, everything linear, cached trace', learning(cachedLearner(all, { loss })), 4.4],
    ['training, last block', learning(last.learner({ loss })), Infinity],
    ['training, last block, cached input', learning(last.learner({ loss, cache: activationMemory() })), 0.6],
    ['inference, last block', forward(last), 1.3],
    ['private step against the same without, last', learning(privateLearner(last, plan, { loss })), 2, learning(last.learner({ loss }))],
    ['private step against the same without, all', learning(privateLearner(all, plan, { loss })), 2, learning(all.learner({ loss }))],
  ];
  for (const [name, side, bound, against = base] of rows) {
    const result = await paired(side, against, { pairs: 15 });
    console.log(show(name, result));
    if (result.low > bound) process.exitCode = 1;
  }
  for (const [name, adapted, bound] of [['last block', last, 50], ['everything', all, Infinity]] as const) await removal(name, adapted, bound);
  for (const a of [plain, all, last, tuned]) a.dispose();
  tf.dispose([targets, ...tensorsIn(inputs)]);
  disposeModel(model.scope);
}

/** Taking one of ten components out, by subtraction and by summing the others anew, against a copy of the two arrays that subtraction reads. */
async function removal(name: string, adapted: Adapted<unknown>, bound: number): Promise<void> {
  const one = await componentOf(adapted, { id: 'c0' });
  const components = Array.from({ length: 10 }, (_, i): Component => ({ ...one, id: `c${i}` }));
  const whole = compose(components);
  const copy = () => [...one.tensors.values()].flatMap(({ data }) => [data.slice(), data.slice()]);
  const quick = await paired(() => remove(whole, 'c3', { exact: false }), copy, { pairs: 15 });
  console.log(show(`removal against a copy, ${name}`, quick));
  const times: number[] = [];
  for (let i = 0; i < 5; i++) {
    const start = performance.now();
    remove(whole, 'c3');
    times.push(performance.now() - start);
  }
  console.log(`${`removal by summing nine anew, ${name}`.padEnd(44)} ${median(times).toFixed(1)} ms`);
  if (quick.medianA > bound) process.exitCode = 1;
}
