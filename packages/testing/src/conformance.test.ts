import * as tf from '@tensorflow/tfjs';
import { add, definePlugin, mean, mul, normal, ones, sub, value, weight, withLowRank, zeros, type Hook, type Host, type LinearPoint, type PluginFactory } from '@espalier/core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { useCpu } from './backend.ts';
import { testPlugin } from './conformance.ts';
import { adapter, scaler } from './peers.ts';
import type { Traits } from './scene.ts';

beforeAll(useCpu);

testPlugin(scaler, { identityAtStart: true, weightsOnly: true, exactRows: true }, { test: { describe, it }, options: { start: 1 }, peers: [] });
testPlugin(adapter, { identityAtStart: false, weightsOnly: false, exactRows: true }, { test: { describe, it }, peers: [] });

/** Runs the kit and gives the checks that fail, with what they say. */
async function failures(factory: PluginFactory<object>, traits: Partial<Traits> = {}): Promise<Map<string, string>> {
  const tests: { name: string; run: () => Promise<void> }[] = [];
  const test = { describe: (_: string, f: () => void) => f(), it: (name: string, run: () => Promise<void>) => tests.push({ name, run }) };
  testPlugin(factory, { identityAtStart: true, weightsOnly: false, exactRows: true, ...traits }, { test, peers: [] });
  const failed = new Map<string, string>();
  // The first half is the one-stream model, which is enough to see it fail.
  for (const { name, run } of tests.slice(0, tests.length / 2)) await run().catch((e: unknown) => failed.set(name, String(e)));
  return failed;
}

/** A plugin whose hooks are what is wrong with it, next to a sound low-rank update. */
const plugin = (hooks: (host: Host, linears: LinearPoint[]) => readonly Hook[], options: z.ZodType<object, object> = z.strictObject({})) =>
  definePlugin({ name: 'broken', version: '0.1.0', hookApi: '1.0', options, attach: (host) => hooks(host, host.linears({ role: 'attention.value' })) });

const update = (host: Host, w: LinearPoint, by: (a: tf.Tensor) => tf.Tensor = (a) => a): Hook => {
  const a = host.variable(`${w.path}.a`, [w.in, 2], normal(0.3));
  const b = host.variable(`${w.path}.b`, [2, w.out], zeros);
  return weight(w, (p, step) => withLowRank(p, by(a.variable), step.read(b)));
};

describe('the kit finds', () => {
  it('nothing wrong with a sound plugin', async () => {
    expect(await failures(plugin((host, linears) => linears.map((w) => update(host, w))), { weightsOnly: true })).toEqual(new Map());
  });

  const leaked: tf.Tensor[] = [];
  afterAll(() => tf.dispose(leaked));
  it('a tensor that is kept and forgotten', async () => {
    const leaky = plugin((host, linears) => [
      ...linears.map((w) => update(host, w)),
      ...host.sites({ role: 'pooled' }).map((site) => value(site, (x) => (leaked.push(tf.keep(tf.scalar(1))), x))),
    ]);
    const failed = await failures(leaky);
    expect([...failed.keys()]).toEqual(['leaks no tensor']);
    expect(failed.get('leaks no tensor')).toContain('leaves 10 tensors behind');
  });

  it('a frozen array that moves', async () => {
    const mover = plugin((host, linears) => [
      ...linears.map((w) => update(host, w)),
      ...host.sites({ role: 'pooled' }).map((site) =>
        value(site, (x, step) => {
          const { kernel } = linears[0]!.pretrained;
          if (step.training && kernel instanceof tf.Tensor) {
            const held = kernel.dataSync(); // the cpu backend hands out its own memory
            held[0] = held[0]! + 0.5;
          }
          return x;
        }),
      ),
    ]);
    const failed = await failures(mover);
    expect(failed.get('leaves the frozen arrays alone and moves only its own variables')).toContain("frozen array 'joint.0.attention.value.kernel'");
  });

  it('a gradient that is cut', async () => {
    const cut = plugin((host, linears) => linears.map((w) => update(host, w, (a) => tf.tensor(a.dataSync().slice(), a.shape))));
    const failed = await failures(cut);
    expect(failed.get('gives every variable a gradient')).toContain("'broken/joint.0.attention.value.a' gets no gradient");
    expect(failed.get('has the gradients that central differences have')).toContain('gets no gradient');
  });

  it('a gradient that is wrong', async () => {
    const twice = (x: tf.Tensor) => tf.customGrad((t) => ({ value: (t as tf.Tensor).clone(), gradFunc: (dy: tf.Tensor) => tf.mul(dy, 2) }))(x);
    const failed = await failures(plugin((host, linears) => linears.map((w) => update(host, w, twice))));
    expect([...failed.keys()]).toEqual(['has the gradients that central differences have', 'merges, or refuses to']);
  });

  it('a row that reads its neighbours', async () => {
    const social = plugin((host) => {
      const gain = host.variable('gain', [1], ones);
      return host.sites({ role: 'block.output' }).map((site) => value(site, (x, step) => mul(step.read(gain), sub(x, mean(x, [0], true)))));
    });
    const failed = await failures(social, { identityAtStart: false });
    expect([...failed.keys()]).toEqual(['treats every row by itself', 'runs grouped rows as it runs blended ones']);
  });

  it('randomness that is not keyed', async () => {
    let calls = 0;
    const unkeyed = plugin((host) => {
      const shift = host.variable('shift', [1], () => Float32Array.of(++calls / 10));
      return host.sites({ role: 'block.output' }).map((site) => value(site, (x, step) => mul(x, step.read(shift))));
    });
    const failed = await failures(unkeyed, { identityAtStart: false });
    expect(failed.get('repeats itself from the same seed')).toContain("start of 'broken/shift' from the same seed");
    expect(failed.get('reads its options strictly')).toContain('options that went through JSON');
  });

  it('an output that changes at once, a merge that is not promised, options that accept anything', async () => {
    const eager = plugin(
      (host, linears) =>
        linears.map((w) => {
          const shift = host.variable(`${w.path}.shift`, [w.out], ones);
          return weight(w, (p, step) => ({ ...p, bias: p.bias && add(p.bias, step.read(shift)) }));
        }),
      z.looseObject({}),
    );
    expect([...(await failures(eager)).keys()]).toEqual(['changes no output before it is trained', 'merges, or refuses to', 'reads its options strictly']);
  });

  it('an update that merge cannot see', async () => {
    const hidden = plugin((host, linears) =>
      linears.map((w) => {
        const shift = host.variable(`${w.path}.shift`, [w.out], zeros);
        const apply = host.sites({ path: w.path, role: 'attention.value' });
        return value(apply[0]!, (x, step) => add(x, step.read(shift)));
      }),
    );
    expect((await failures(hidden, { weightsOnly: true })).get('merges, or refuses to')).toContain("'broken' cannot be merged");
  });
});
