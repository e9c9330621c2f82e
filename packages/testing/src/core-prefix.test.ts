import * as tf from '@tensorflow/tfjs';
import {
  adapt, add, around, begin, Dual, evaluate, finish, matMul, mean, mul, normal, ones, primal, reshape, scale, startStep, tidy, value, weight, withLowRank, zeros,
  type Adapted, type Host, type Plugin, type Select, type Slot, type SiteRole, type StepOptions, type Value, type WeightRole,
} from '@espalier/core';
import { afterAll, afterEach, beforeEach, describe, expect, it } from 'vitest';
import { inline } from './inline.ts';
import type { TinyInputs } from './inputs.ts';
import { toBeAllClose } from './matchers.ts';
import type { TinyModel } from './tiny.ts';
import { gradientsOf, jitter, tinyLoss } from './training.ts';
import { tinyModels } from './tiny-models.ts';

const { one, two, inputs } = await tinyModels(afterAll);
const held: Adapted<TinyInputs>[] = [];
let tensors = 0;
beforeEach(() => {
  tensors = tf.memory().numTensors;
});
afterEach(() => {
  for (const adapted of held.splice(0)) adapted.dispose();
  expect(tf.memory().numTensors).toBe(tensors);
});
const put = (model: TinyModel, ...plugins: Plugin[]) => {
  const adapted = adapt(model, plugins);
  jitter(adapted);
  held.push(adapted);
  return adapted;
};

/** Adds a low-rank product to the kernels selected. */
const update = (name: string, at: Select<WeightRole>, named = {}) =>
  inline(
    name,
    (host) =>
      host.weights(at).flatMap((w) => {
        if (!('out' in w)) return [];
        const [a, b] = [host.variable(`${w.path}.a`, [w.in, 2], normal(0.3)), host.variable(`${w.path}.b`, [2, w.out], zeros)];
        return weight(w, (p, step) => withLowRank(p, step.read(a), step.read(b)));
      }),
    named,
  );
/** Multiplies the values at sites by a vector. */
const gains = (name: string, role: SiteRole, more: Select<SiteRole> = {}) =>
  inline(name, (host) =>
    host.sites({ role, ...more }).map((site) => {
      const g = host.variable(`${site.path}.gain`, [16], ones);
      return value(site, (x, step) => mul(x, step.read(g)));
    }),
  );

const close = (found: ReadonlyMap<string, Float32Array>, expected: ReadonlyMap<string, Float32Array>, relative = 5e-6) => {
  const missing = [...expected.keys()].filter((name) => !found.has(name) && expected.get(name)!.some((x) => x !== 0));
  expect(missing).toEqual([]);
  for (const [name, g] of found) toBeAllClose(g, expected.get(name) ?? new Float32Array(g.length), { relative, absolute: 1e-8 }, name);
};

describe('the prefix', () => {
  async function observed(...plugins: Plugin[]): Promise<number> {
    const adapted = put(two, ...plugins);
    const learned = await adapted.learn(inputs, tinyLoss);
    const count = learned.observed;
    learned.dispose();
    close(await gradientsOf(adapted, inputs), await gradientsOf(adapted, inputs, { prefix: false }));
    return count;
  }

  it('is what nothing trainable touches: two sources, then blocks, each stream by itself', async () => {
    expect(await observed(update('head', { role: 'head.down' }))).toBe(6);
    expect(await observed(update('late', { role: 'ffn.up', block: [3, 4] }))).toBe(5);
    expect(await observed(update('early', { role: 'cross.query', block: [2, 3] }))).toBe(4);
    expect(await observed(update('text', { role: 'attention.query', stream: 'text' }))).toBe(3);
    expect(await observed(update('vision', { role: 'attention.query', stream: 'vision' }))).toBe(3);
    expect(await observed(update('features', { role: 'embed.vision' }))).toBe(2);
    expect(await observed(gains('words', 'embed.output', { stream: 'text' }))).toBe(2);
    expect(await observed(gains('both', 'embed.output'))).toBe(0);
    expect(await observed(gains('stacks', 'ffn.down', { block: [0, 2] }))).toBe(2);
  });

  it('holds what frozen plugins do, and ends where a trainable one begins', async () => {
    const frozen = update('frozen', { role: 'attention.query' }, { trainable: false });
    expect(await observed(frozen, update('head', { role: 'head.down' }))).toBe(6);
    expect(await observed(frozen, update('late', { role: 'ffn.up', block: [3, 4] }))).toBe(5);
    const trained = put(two, frozen, update('late', { role: 'ffn.up', block: [3, 4] }));
    expect([...(await gradientsOf(trained, inputs)).keys()].every((name) => name.startsWith('late/'))).toBe(true);
  });

  it('stops at a trainable edit of what enters the encoder', async () => {
    const prompt = inline('prompt', (host) => {
      const v = host.variable('v', [16], zeros);
      return [around(host.stages({ role: 'encoder' })[0]!, 'edit', (run, s, step) => run({ ...s, text: { ...s['text']!, hidden: add(s['text']!.hidden, step.read(v)) } }))];
    });
    expect(await observed(prompt)).toBe(3); // both sources and the vision block, which the edit does not enter
    const [found] = (await gradientsOf(put(two, prompt), inputs)).values();
    expect(found!.some((x) => x !== 0)).toBe(true);
  });

  it('holds every pass of an encoder that runs twice, for each variant', async () => {
    const twice = inline('twice', (host) => [
      around(host.stages({ role: 'encoder' })[0]!, 'repeat', (run, s) => {
        const first = run(s, { variant: 'pretrained' });
        return run({ ...s, text: { ...s['text']!, hidden: add(s['text']!.hidden, scale(first['text']!.hidden, 0.1)) } }, { pass: 1 });
      }),
    ]);
    // Pretrained pass: four blocks. Second pass: the vision block alone, for the text is changed on its way in.
    expect(await observed(twice, update('late', { role: 'ffn.up', block: [3, 4] }))).toBe(2 + 4 + 1);
  });

  it('is never taken for another run of the same blocks: other inputs, another variant', async () => {
    const encoder = (name: string, run: Parameters<typeof around>[2]) => inline(name, (host) => [around(host.stages({ role: 'encoder' })[0]!, 'repeat', run)]);
    const late = () => update('late', { role: 'ffn.up', block: [3, 4] });
    const frozen = update('frozen', { role: 'attention.query' }, { trainable: false });
    // Text is changed between two runs of one pass; vision enters the second as the first left it.
    await observed(late(), encoder('twice', (run, s) => run(run(s))));
    const sum = encoder('sum', (run, s) => {
      const [plain, adapted] = [run(s, { variant: ['late'] }), run(s)];
      return { ...s, text: { ...s['text']!, hidden: add(plain['text']!.hidden, scale(adapted['text']!.hidden, -0.5)) } };
    });
    await observed(sum, frozen, late());
    await observed(sum, frozen, update('head', { role: 'head.down' }));
  });

  it('computes off the tape: nothing of it stays alive for the gradient', async () => {
    const adapted = put(two, update('head', { role: 'head.down' }));
    const kernels = async (prefix: boolean) => {
      const profile = await tf.profile(async () => {
        (await adapted.learn(inputs, tinyLoss, { prefix })).dispose();
        return [];
      });
      return profile.peakBytes;
    };
    expect(await kernels(true)).toBeLessThan(0.8 * (await kernels(false)));
  });
});

describe('blocks computed again for their gradient', () => {
  async function agree(model: TinyModel, ...plugins: Plugin[]): Promise<Map<string, Float32Array>> {
    const adapted = put(model, ...plugins);
    const options = { seed: 2, prefix: false };
    const expected = await gradientsOf(adapted, inputs, options);
    close(await gradientsOf(adapted, inputs, { ...options, recompute: true }), expected);
    return expected;
  }
  const reached = (g: ReadonlyMap<string, Float32Array>, pattern: RegExp) => [...g].some(([name, x]) => pattern.test(name) && x.some((v) => v !== 0));

  it('have the gradients of weights, values and shared cross-attention', async () => {
    await agree(one, update('x', { role: ['attention.query', 'ffn.down'] }), gains('y', 'attention.context'));
    await agree(two, update('x', { role: ['cross.value', 'attention.value'] }), gains('y', 'cross.output'));
  });

  it('keep less alive', async () => {
    const adapted = put(one, update('x', { role: 'attention.query' }));
    const peak = async (recompute: boolean) => (await tf.profile(async () => ((await adapted.learn(inputs, tinyLoss, { prefix: false, recompute })).dispose(), []))).peakBytes;
    expect(await peak(true)).toBeLessThan(await peak(false));
  });

  it('pass gradients through slots, also slots that carry one', async () => {
    const signal = inline('signal', (host) => {
      const slot: Slot<Value> = host.slot('s');
      const v = host.variable('v', [16], normal(0.5));
      return [
        around(host.stages({ role: 'encoder' })[0]!, 'edit', (run, s, step) => {
          step.set(slot, mul(mean(s['joint']!.hidden, [1], true), step.read(v))); // [B, 1, D]
          return run(s);
        }),
        ...host.sites({ role: 'attention.value' }).map((site) => value(site, (x, step) => add(x, step.get(slot)))),
      ];
    });
    expect(reached(await agree(one, signal, update('x', { role: 'attention.query' })), /signal/)).toBe(true);
  });

  it('pass gradients of decisions made before', async () => {
    const decision = inline('decision', (host) => {
      const slot: Slot<tf.Tensor> = host.slot('g');
      const v = host.variable('v', [1], ones);
      return [
        begin((step) => step.decide(slot, { value: tf.mul(v.variable, 2), backward: (dy) => ({ [v.path]: tf.mul(dy, 2) }) })),
        ...host.sites({ role: 'ffn.down' }).map((site) => value(site, (x, step) => mul(x, step.get(slot)))),
      ];
    });
    expect(reached(await agree(one, decision), /decision/)).toBe(true);
  });

  it('hand out the losses that were added inside', async () => {
    const penalty = inline('penalty', (host) =>
      host.sites({ role: 'attention.context' }).map((site) => {
        const v = host.variable(site.path, [16], ones);
        return value(site, (x, step) => {
          step.loss('size', tf.mean(tf.square(primal(mul(x, step.read(v))))));
          return x;
        });
      }),
    );
    const g = await agree(one, penalty);
    expect([...g.keys()]).toHaveLength(2);
    expect(reached(g, /penalty/)).toBe(true);
    const adapted = put(one, penalty);
    const losses = [];
    for (const recompute of [false, true]) {
      const learned = await adapted.learn(inputs, tinyLoss, { recompute });
      losses.push([learned.loss.dataSync()[0]!, learned.losses.get('size')!.dataSync()[0]!]);
      learned.dispose();
    }
    toBeAllClose(losses[1]!, losses[0]!, { relative: 1e-6 });
  });

  it('work on duals', async () => {
    const tangent = inline('tangent', (host) => [
      ...host.linears({ role: ['attention.value', 'ffn.up'] }).map((w) => {
        const delta = host.variable(w.path, [w.in, w.out], zeros);
        return weight(w, (p, step) => ({ ...p, kernel: new Dual(primal(p.kernel), primal(step.read(delta))) }), { mode: 'replace' });
      }),
    ]);
    const g = await agree(one, tangent);
    expect(reached(g, /joint\.0/) && reached(g, /joint\.1/)).toBe(true);
    await agree(two, tangent);
  });

  it('read variables that hooks make use of as they run', async () => {
    const form = inline('form', (host) =>
      host.linears({ role: 'attention.query' }).map((w) => {
        const b = host.variable(w.path, [w.in, w.out], normal(0.1));
        return weight(w, (p, step) => ({ ...p, kernel: add(p.kernel, step.read(b)) }), {
          activation: (x, p, step) => reshape(add(matMul(reshape(x, [-1, w.in]), add(p.kernel, step.read(b))), p.bias!), x.shape),
        });
      }),
    );
    expect(reached(await agree(one, form), /form/)).toBe(true);
    const doubled = inline('doubled', (host) => host.parameters('form').map((p) => {
      const gain = host.variable(p.path, [1], ones);
      return weight(p, ({ value: v }, step) => ({ value: mul(v, step.read(gain)) }));
    }));
    expect(reached(await agree(one, form, doubled), /doubled/)).toBe(true);
  });

  it('fold weights inside where a hook changes the variant there', async () => {
    const switches = inline('switches', (host) => host.stages({ role: 'attention' }).map((stage) => around(stage, 'route', (run, s) => run(s, { variant: ['x'] }))));
    const [x, y] = [update('x', { role: 'attention.query' }), update('y', { role: ['attention.query', 'ffn.up'] })];
    const g = await agree(one, switches, x, y);
    expect(reached(g, /x\/joint\.1\.attention/)).toBe(true);
    expect(reached(g, /y\/joint\.1\.attention/)).toBe(false);
    const doubled = (host: Host) => host.parameters('x').map((p) => {
      const gain = host.variable(p.path, [1], ones);
      return weight(p, ({ value: v }, step) => ({ value: mul(v, step.read(gain)) }));
    });
    const also = inline('also', (host) => host.stages({ role: 'ffn' }).map((stage) => around(stage, 'route', (run, s) => run(s, { variant: ['x', 'doubled'] }))));
    const all = await agree(one, update('x', { role: ['attention.query', 'ffn.up'] }), y, inline('doubled', doubled), switches, also);
    expect(reached(all, /doubled\/x\/joint\.1\.ffn/)).toBe(true);
  });

  it('have second derivatives', async () => {
    const adapted = put(one, gains('g', 'attention.context', { block: [0, 1] }), update('x', { role: 'ffn.up', block: [1, 2] }));
    const variables = adapted.trainable.map((p) => p.variable);
    const engine = tf.engine();
    /** |dL/dv|^2 and its gradient, for all variables. */
    const run = (recompute: boolean) => {
      const options: StepOptions = { training: true, seed: 4, recompute };
      const step = startStep(adapted.plan, inputs, 3, options);
      const loss = () => tinyLoss(evaluate(one.forward(inputs, step)));
      const size = (): tf.Scalar => {
        const { grads } = engine.gradients(loss, variables, undefined, true);
        return tf.addN(grads.map((g) => tf.sum(tf.square(g))));
      };
      try {
        return tidy(() => {
          const { value: total, grads } = engine.gradients(size, variables, undefined, true);
          return { total: total.dataSync()[0]!, grads: grads.map((g) => g.dataSync<'float32'>().slice()) };
        });
      } finally {
        finish(step);
      }
    };
    const [plain, again] = [run(false), run(true)];
    expect(again.total).toBeCloseTo(plain.total, 5);
    plain.grads.forEach((g, i) => toBeAllClose(again.grads[i]!, g, { relative: 2e-5 }, adapted.trainable[i]!.path));
    // Central differences of |dL/dv|^2 in the direction of the gradient that was found.
    for (const [i, { variable, path }] of adapted.trainable.entries()) {
      const g = plain.grads[i]!;
      const length = Math.hypot(...g);
      const start = variable.dataSync<'float32'>().slice();
      const at = (by: number) => {
        tf.tidy(() => variable.assign(tf.tensor(start.map((v, k) => v + (by * g[k]!) / length), variable.shape)));
        return run(false).total;
      };
      const slope = (at(5e-3) - at(-5e-3)) / 1e-2;
      at(0);
      expect(Math.abs(slope - length), path).toBeLessThan(0.02 * length);
    }
  });
});
