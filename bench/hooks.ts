import * as tf from '@tensorflow/tfjs';
import { adapt, finish, startStep, tidy, type Streams } from '@espalier/core';
import { backbones, disposeModel, initialised } from '@espalier/vl-models';
import { madeUpBatch } from './batch.ts';
import { median } from './paired.ts';

/** What places cost that nobody hooks: counted visits times measured nanoseconds, as a share of the forward pass. */
export async function hooks(): Promise<void> {
  console.log('places nobody hooks: visits x ns, as a share of one forward pass (batch 32, size small)');
  for (const [name, kind] of backbones) {
    const model = kind.build(kind.sizes.small, initialised(0));
    const inputs = model.inputs(madeUpBatch());
    const adapted = adapt(model, []);

    const visits = { at: 0, weight: 0, stage: 0 };
    const step = startStep(adapted.plan, inputs, model.batch(inputs));
    const counting = new Proxy(step, {
      get(target, key, receiver) {
        if (key === 'at' || key === 'weight' || key === 'stage') visits[key]++;
        return Reflect.get(target, key, receiver);
      },
    });
    tidy(() => model.forward(inputs, counting));

    const site = model.scope.points.site[0]!;
    const linear = model.scope.points.linear[0]!;
    const stage = { ...model.scope.points.stage[0]!, role: 'ffn' as const, body: (s: Streams) => s };
    const x = tf.zeros([1]);
    const streams: Streams = { only: { hidden: x, mask: x } };
    const cost = {
      at: nanoseconds(() => step.at(site, x)),
      weight: nanoseconds(() => step.weight(linear)),
      stage: nanoseconds(() => step.stage(stage, streams), 20_000),
    };
    const forward: number[] = [];
    for (let i = 0; i < 33; i++) {
      const start = performance.now();
      const y = await adapted.forward(inputs);
      y.dataSync();
      y.dispose();
      if (i > 2) forward.push(performance.now() - start);
    }
    const spent = (visits.at * cost.at + visits.weight * cost.weight + visits.stage * cost.stage) / 1e6;
    const share = spent / median(forward);
    const parts = (['at', 'weight', 'stage'] as const).map((k) => `${k} ${visits[k]} x ${cost[k].toFixed(0)} ns`).join(', ');
    console.log(`${name.padEnd(8)} ${parts}: ${spent.toFixed(3)} ms of ${median(forward).toFixed(1)} ms = ${(100 * share).toFixed(3)} % (bound 1 %)`);
    if (share > 0.01) process.exitCode = 1;
    x.dispose();
    finish(step);
    tf.dispose(Object.values(inputs as Record<string, tf.Tensor>));
    disposeModel(model.scope);
  }
}

/** The median over rounds of the time of one call. */
function nanoseconds(f: () => unknown, calls = 200_000): number {
  const rounds: number[] = [];
  for (let round = 0; round < 31; round++) {
    const start = performance.now();
    for (let i = 0; i < calls / 10; i++) f();
    rounds.push(((performance.now() - start) * 1e6) / (calls / 10));
  }
  return median(rounds);
}
