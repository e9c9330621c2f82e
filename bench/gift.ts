import * as tf from '@tensorflow/tfjs';
import { adapt, type Adapted, type Plugin } from '@espalier/core';
import { selectBackend } from '@espalier/core/backend';
import { gift } from '@espalier/gift';
import { lora } from '@espalier/lora';
import { answerLoss } from '@espalier/train';
import { tune } from '@espalier/tune';
import { backbones, disposeModel, initialised, type VqaModel } from '@espalier/vl-models';
import { madeUpBatch } from './batch.ts';
import { paired, show } from './paired.ts';

const at = { role: ['attention.output', 'cross.output'] } as const;
const sides: Readonly<Record<string, { readonly plugin: () => Plugin; readonly bound: number }>> = {
  'gift r16': { plugin: () => gift(), bound: 1.05 },
  'gift r16, low-rank form': { plugin: () => gift({ form: 'low-rank' }), bound: Infinity },
  'gift r16, PaCa': { plugin: () => gift({ generator: 'paca' }), bound: 1.15 },
};

/** A training step of GIFT against one of LoRA r8 at the same places; a forward pass of the merged model against the plain one. */
export async function giftSteps(): Promise<void> {
  console.log(`training steps against LoRA r8 at the outputs of attention, forward passes against the plain model (batch 32, size small, ${(await selectBackend()).name})`);
  for (const [name, kind] of backbones) {
    const model = kind.build(kind.sizes.small, initialised(0));
    const batch = madeUpBatch();
    const [inputs, targets] = [model.inputs(batch), tf.tensor2d(batch.targets, [batch.ids.length, batch.answers])];
    const head = () => tune({ preset: 'head', answers: batch.answers }, { as: 'head' });
    const there = { role: at.role.filter((role) => model.scope.points.linear.some((w) => w.role === role)) };
    const base = step(adapt(model, [lora({ rank: 8, at: there }), head()]), inputs, targets, batch.ids);
    for (const [side, { plugin, bound }] of Object.entries(sides)) {
      const own = step(adapt(model, [plugin(), head()]), inputs, targets, batch.ids);
      const result = await paired(own.run, base.run, { pairs: 21 });
      console.log(show(`${name}, ${side}`, result));
      if (result.low > bound) process.exitCode = 1;
      own.dispose();
    }
    base.dispose();
    await forwards(name, kind.build, kind.sizes.small, model, inputs);
    tf.dispose([targets, ...Object.values(inputs as Record<string, tf.Tensor>)]);
    disposeModel(model.scope);
  }
}

function step(adapted: Adapted<unknown>, inputs: unknown, targets: tf.Tensor2D, samples: readonly string[]) {
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

async function forwards(name: string, build: (config: unknown, tensors: (path: string) => tf.Tensor) => VqaModel<unknown>, config: unknown, model: VqaModel<unknown>, inputs: unknown): Promise<void> {
  const adapted = adapt(model, [gift()]);
  const merged = await adapted.merge();
  adapted.dispose();
  const plain = adapt(build(config, (path) => merged.get(path)!), []);
  const forward = (side: Adapted<unknown>) => async () => {
    const y = await side.forward(inputs);
    await y.data();
    y.dispose();
  };
  const result = await paired(forward(plain), forward(adapt(model, [])), { pairs: 31 });
  console.log(show(`${name}, merged, forward`, result));
  if (result.low > 1.01) process.exitCode = 1;
  tf.dispose([...merged.values()]);
}
