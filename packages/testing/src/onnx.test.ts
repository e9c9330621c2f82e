import * as tf from '@tensorflow/tfjs';
import {
  adapt, add, around, begin, blend, definePlugin, denseGradient, graphBackend, group, mean, mul, normal, scale, sub, value, weight, withLowRank,
  type Adapted, type GraphBackend, type Learner, type Plugin, type Slot, type Value,
} from '@espalier/core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { useCpu, useOnnx } from './backend.ts';
import { testPlugin } from './conformance.ts';
import { inline } from './inline.ts';
import { disposeInputs, tinyInputs, type TinyInputs } from './inputs.ts';
import { toBeAllClose } from './matchers.ts';
import { adapter, scaler } from './peers.ts';
import { tinyOneStream, tinyTwoStream } from './tiny.ts';
import { gradientsOf, tinyLoss } from './training.ts';

/** What the onnx backend tells of itself. */
const Statistics = z.object({ flushes: z.number(), compiled: z.number(), operations: z.number(), fallbacks: z.record(z.string(), z.number()) });
function statistics() {
  const backend: object = tf.backend();
  const ask: unknown = Reflect.get(backend, 'statistics');
  if (typeof ask !== 'function') throw new Error('this is not the onnx backend');
  return Statistics.parse(Reflect.apply(ask, backend, []));
}
const lengths = Array.from({ length: 8 }, (_, i) => [3 + (i % 3), 1 + (i % 3)] as const);
const engine = (): GraphBackend => {
  const found = graphBackend();
  if (!found) throw new Error('this is not the onnx backend');
  return found;
};

/** A low-rank product on every query, never zero. */
const lowRank = inline('update', (host) =>
  host.linears({ role: 'attention.query' }).map((w) => {
    const [a, b] = [host.variable(`${w.path}.a`, [w.in, 2], normal(0.4)), host.variable(`${w.path}.b`, [2, w.out], normal(0.4))];
    return weight(w, (p, step) => withLowRank(p, step.read(a), step.read(b)));
  }),
);

beforeAll(useOnnx);
afterAll(useCpu);

testPlugin(scaler, { identityAtStart: true, weightsOnly: true, exactRows: true }, { test: { describe, it }, options: { start: 1 }, peers: [] });
testPlugin(adapter, { identityAtStart: false, weightsOnly: false, exactRows: true }, { test: { describe, it }, peers: [] });

describe.each([['one stream', tinyOneStream], ['two streams', tinyTwoStream]] as const)('%s', (_, make) => {
  /** Output and gradients on the backend in force, dropout and all. */
  async function numbers(recompute: boolean): Promise<Map<string, Float32Array>> {
    const [model, inputs] = [make({ dropout: 0.2 }), tinyInputs()];
    const adapted = adapt(model, [lowRank, adapter()]);
    const found = await gradientsOf(adapted, inputs, { seed: 1, step: 2, recompute });
    const y = await adapted.forward(inputs);
    found.set('output', y.dataSync<'float32'>().slice());
    y.dispose();
    adapted.dispose();
    model.dispose();
    disposeInputs(inputs);
    return found;
  }

  it.each([false, true])('outputs and gradients are those of cpu (recompute: %s)', async (recompute) => {
    await useCpu();
    const wanted = await numbers(recompute);
    await useOnnx();
    const found = await numbers(recompute);
    // Every kernel that reads an array has an emitter; these write constants.
    expect(Object.keys(statistics().fallbacks).filter((k) => !['Range', 'Fill'].includes(k))).toEqual([]);
    expect([...found.keys()]).toEqual([...wanted.keys()]);
    for (const [name, x] of wanted) toBeAllClose(found.get(name)!, x, { absolute: 1e-5, relative: 1e-4 });
  });

  it('a forward pass is one graph, a training step is one graph', async () => {
    const [model, inputs] = [make({ dropout: 0.2 }), tinyInputs()];
    const adapted = adapt(model, [lowRank]);
    const flushes = async (f: () => Promise<void>): Promise<number> => {
      await f(); // values that are made once
      const before = statistics().flushes;
      await f();
      return statistics().flushes - before;
    };
    expect(await flushes(async () => {
      const y = await adapted.forward(inputs);
      y.dataSync();
      y.dispose();
    })).toBe(1);
    expect(await flushes(async () => {
      const learned = await adapted.learn(inputs, tinyLoss);
      learned.loss.dataSync();
      for (const g of learned.gradients.values()) g.dataSync();
      learned.dispose();
    })).toBe(1);
    adapted.dispose();
    model.dispose();
    disposeInputs(inputs);
  });
});

describe('branches that are blended', () => {
  it('share the product of a frozen kernel, in a graph of their own and in one with its gradients', async () => {
    const [model, inputs] = [tinyTwoStream(), tinyInputs()];
    const outputs = inline('outputs', (host) =>
      host.linears({ role: 'attention.output' }).map((w) => {
        const [a, b] = [host.variable(`${w.path}.a`, [w.in, 2], normal(0.4)), host.variable(`${w.path}.b`, [2, w.out], normal(0.4))];
        return weight(w, (p, step) => withLowRank(p, step.read(a), step.read(b)));
      }),
    );
    const gate = () => tf.tensor2d([[1], [0], [0.5]]);
    const blended = inline('blended', (host) => host.stages({ role: 'attention.project' }).map((stage) => around(stage, 'route', (run, s) => blend(gate(), s, (x) => run(x), (x) => run(x, { variant: 'pretrained' })))));
    const numbers = async () => {
      const adapted = adapt(model, [blended, outputs]);
      const found = await gradientsOf(adapted, inputs, { prefix: false });
      adapted.dispose();
      return found;
    };
    const found = await numbers();
    await useCpu();
    const wanted = await numbers();
    await useOnnx();
    for (const [name, g] of wanted) toBeAllClose(found.get(name)!, g, { absolute: 1e-5, relative: 1e-4 }, name);
    model.dispose();
    disposeInputs(inputs);
  });
});

describe('routes', () => {
  /** Every block runs its two branches on groups of rows. */
  const routed = (chosen: readonly boolean[], inside: (x: Value) => Value = (x) => x) =>
    inline('router', (host) => [
      ...host.stages({ role: 'block' }).map((b) =>
        around(b, 'route', (run, s, step) =>
          group(step, chosen, s, (x, rows) => run(x, rows && { rows }), (x, rows) => run(x, { variant: 'pretrained', ...(rows && { rows }) }))),
      ),
      ...host.sites({ role: 'block.output' }).map((site) => value(site, inside)),
    ]);
  const outputOf = async (adapted: Adapted<TinyInputs>, inputs: TinyInputs) => {
    const y = await adapted.forward(inputs);
    const values = y.dataSync<'float32'>().slice();
    tf.dispose(y);
    return values;
  };
  const chosen = (n: number) => Array.from({ length: 8 }, (_, i) => i < n);

  it('are one graph, whatever their sizes, and give what single rows give', async () => {
    const [model, inputs] = [tinyOneStream(), tinyInputs({ lengths })];
    const whole = adapt(model, [lowRank]);
    const plain = adapt(model, []);
    const [adapted, pretrained] = [await outputOf(whole, inputs), await outputOf(plain, inputs)];
    const counts: { flushes: number; compiled: number }[] = [];
    for (const n of [1, 2, 3, 4, 5, 6, 7]) {
      const both = adapt(model, [routed(chosen(n)), lowRank]);
      const before = statistics();
      const y = await outputOf(both, inputs);
      const after = statistics();
      counts.push({ flushes: after.flushes - before.flushes, compiled: after.compiled - before.compiled });
      const width = y.length / 8;
      toBeAllClose(y.subarray(0, n * width), adapted.subarray(0, n * width), { absolute: 1e-5, relative: 1e-5 });
      toBeAllClose(y.subarray(n * width), pretrained.subarray(n * width), { absolute: 1e-5, relative: 1e-5 });
      expect(both.plan.mixes).toBeUndefined();
      both.dispose();
    }
    expect(counts).toEqual(counts.map((_, i) => ({ flushes: 1, compiled: i === 0 ? 1 : 0 })));
    for (const a of [whole, plain]) a.dispose();
    model.dispose();
    disposeInputs(inputs);
  });

  it('take lists of rows where a hook inside of them mixes samples', async () => {
    const [model, inputs] = [tinyOneStream(), tinyInputs({ lengths })];
    const centred = (x: Value) => sub(x, mean(x, [0], true)); // of the samples that run together
    const both = adapt(model, [routed(chosen(3), centred)]);
    const y = await outputOf(both, inputs);
    expect(both.plan.mixes).toMatch(/^kernel Mean of \[8, \d+, \d+\] of some samples: it mixes rows$/);
    await useCpu();
    const expected = await outputOf(both, inputs);
    await useOnnx();
    toBeAllClose(y, expected, { absolute: 1e-5, relative: 1e-5 });
    both.dispose();
    model.dispose();
    disposeInputs(inputs);
  });
});

describe('a learner', () => {
  interface Taught {
    readonly numbers: number[];
    readonly how: (string | undefined)[];
    readonly refused: string | undefined;
    readonly leaked: number;
  }

  /** Six steps of gradient descent: losses and all gradients. */
  async function teach(plugins: readonly Plugin[], capture: boolean, batches = [0, 0, 0, 0, 0, 0]): Promise<Taught> {
    const before = tf.memory().numTensors;
    const model = tinyOneStream({ dropout: 0.2 });
    const adapted = adapt(model, plugins);
    const learner: Learner<TinyInputs, tf.Tensor> = adapted.learner<tf.Tensor>({ loss: (y, t) => tf.tidy(() => tf.add(tinyLoss(y), tf.mean(tf.mul(y, t)))), score: (y) => tf.tidy(() => tf.max(y)), capture });
    const [numbers, how] = [[] as number[], [] as (string | undefined)[]];
    for (const [step, size] of batches.entries()) {
      const inputs = tinyInputs({ seed: step, lengths: lengths.slice(0, 3 + size), padded: [5, 3] });
      const targets = tf.scalar(step / 10);
      const lesson = await learner.learn(inputs, targets, { seed: 1, step, samples: lengths.slice(0, 3 + size).map((_, i) => `${step}/${i}`) });
      how.push(learner.last);
      numbers.push(...lesson.scalars.dataSync());
      expect(lesson.names.slice(0, 2)).toEqual(['loss', 'losses.task']);
      for (const [path, g] of lesson.gradients) {
        const { variable } = adapted.parameters.get(path)!;
        numbers.push(...tf.tidy(() => denseGradient(g).dataSync()));
        tf.tidy(() => variable.assign(tf.sub(variable, tf.mul(denseGradient(g), 0.05))));
      }
      lesson.dispose();
      tf.dispose(targets);
      disposeInputs(inputs);
    }
    const { refused } = learner;
    learner.dispose();
    adapted.dispose();
    model.dispose();
    return { numbers, how, refused, leaked: tf.memory().numTensors - before };
  }

  it('replays from the third step on, with the numbers of traced steps bit for bit', async () => {
    const traced = await teach([lowRank, adapter()], false);
    const replayed = await teach([lowRank, adapter()], true);
    expect(traced.how).toEqual(Array.from({ length: 6 }, () => 'traced'));
    expect(replayed.how).toEqual(['recorded', 'recorded', 'replayed', 'replayed', 'replayed', 'replayed']);
    expect(replayed.numbers).toEqual(traced.numbers);
    expect([traced.leaked, replayed.leaked, replayed.refused]).toEqual([0, 0, undefined]);
  });

  it('has the numbers of cpu', async () => {
    const found = await teach([lowRank], true);
    await useCpu();
    const wanted = await teach([lowRank], true);
    await useOnnx();
    expect(wanted.how).toEqual(Array.from({ length: 6 }, () => 'traced'));
    toBeAllClose(Float32Array.from(found.numbers), Float32Array.from(wanted.numbers), { absolute: 1e-5, relative: 1e-3 });
  });

  it('records every size of a batch once', async () => {
    const { how } = await teach([lowRank], true, [0, 1, 0, 1, 0, 1]);
    expect(how).toEqual(['recorded', 'recorded', 'recorded', 'recorded', 'replayed', 'replayed']);
  });

  it('takes decisions, which are made anew in every step, as arguments, and hands their gradients on', async () => {
    const decides = () =>
      inline('decides', (host) => {
        const gate = host.variable('gate', [1], normal(1));
        const slot: Slot<tf.Tensor> = host.slot('gate');
        return [
          begin((step) => {
            const chosen = tf.tidy(() => tf.add(gate.variable, tf.scalar(step.shared.step / 10)));
            step.decide(slot, { value: chosen, backward: (dy) => ({ [gate.path]: tf.mul(dy, 1) }) });
          }),
          ...host.sites({ role: 'ffn.down' }).map((site) => value(site, (x, step) => mul(x, step.get(slot)))),
        ];
      });
    const traced = await teach([decides(), lowRank], false);
    const replayed = await teach([decides(), lowRank], true);
    expect(replayed.how.slice(2)).toEqual(Array.from({ length: 4 }, () => 'replayed'));
    expect(replayed.numbers).toEqual(traced.numbers);
    expect([traced.leaked, replayed.leaked]).toEqual([0, 0]);
  });

  it('goes on without recording, and says why, where a plugin looks at values or at a clock of its own', async () => {
    let calls = 0;
    const looks = definePlugin({
      name: 'looks', version: '0.1.0', hookApi: '1.0', options: z.strictObject({ clock: z.boolean() }),
      attach: (host, { clock }) =>
        host.sites({ role: 'ffn.down' }).map((site) =>
          value(site, (x) => (clock ? scale(x, 1 + calls++ / 1000) : add(x, x instanceof tf.Tensor ? x.dataSync()[0]! > 1e9 ? tf.scalar(1) : tf.scalar(0) : tf.scalar(0))))),
    });
    const looked = await teach([looks({ clock: false }), lowRank], true);
    expect(looked.how.at(-1)).toBe('refused');
    expect(looked.refused).toMatch(/its values were read on the host/);
    const traced = await teach([looks({ clock: false }), lowRank], false);
    toBeAllClose(Float32Array.from(looked.numbers), Float32Array.from(traced.numbers), { absolute: 1e-5, relative: 1e-4 });
    const timed = await teach([looks({ clock: true }), lowRank], true);
    expect(timed.how.at(-1)).toBe('refused');
    expect(timed.refused).toMatch(/an anonymous constant float32 \[\] changed between two recordings/);
  });

  it('changes variables in place where the optimiser asks for it', () => {
    const v = tf.variable(tf.tensor1d([1, 2]));
    engine().writable(v)[1] = 5;
    expect([...v.dataSync(), ...engine().values(v)]).toEqual([1, 5, 1, 5]);
    v.dispose();
  });
});
