import * as tf from '@tensorflow/tfjs';
import { adapt, add, around, concat, definePlugin, EspalierError, OptionsError, primal, RefusedError, update, value, zeros, type Adapted } from '@espalier/core';
import { distanceOf, gradientsOf, jitter, scaler, tinyLoss, tinyModels, toBeAllClose, toBeBitEqual, toDiffer, toRefuse, type TinyInputs } from '@espalier/testing';
import { afterAll, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { requireSameTokens, toast } from './toast.ts';

const { one, two, inputs } = await tinyModels(afterAll);

const variable = (adapted: Adapted<TinyInputs>, name: string) => adapted.parameters.get(`toast/${name}`)!.variable;
const fillWith = (adapted: Adapted<TinyInputs>, name: string, value: number) => {
  const v = variable(adapted, name);
  tf.tidy(() => v.assign(tf.tensor(Float32Array.from({ length: v.size }, (_, i) => value * Math.sin(1 + i)), v.shape)));
};
const nonZero = (gradients: ReadonlyMap<string, Float32Array>) => [...gradients].filter(([, g]) => g.some((v) => v !== 0)).map(([name]) => name.replace('toast/', '')).sort();

/** What passes sites of a role, by path and pass. */
async function watched(adapted: Adapted<TinyInputs>, role: string): Promise<Map<string, tf.Tensor>> {
  const seen = new Map<string, tf.Tensor>();
  const y = await adapted.forward(inputs, { observe: (site, x, step) => site.role === role && seen.set(`${site.path} ${step.pass}`, tf.keep(primal(x).clone())) });
  y.dispose();
  return seen;
}

describe('T6: gradients', () => {
  it('at the safe start are those of B alone', async () => {
    const adapted = adapt(one, [toast({ task: 'question', freezeP: false })]);
    expect(nonZero(await gradientsOf(adapted, inputs))).toEqual(['joint.0.b', 'joint.1.b']);
    const lite = adapt(two, [toast({ feedback: 'lite', to: 0 })]);
    expect(nonZero(await gradientsOf(lite, inputs)).every((name) => name.endsWith('.b.up'))).toBe(true);
  });

  it('of the task vector are zero where every token points away from it', async () => {
    const adapted = adapt(one, [toast()]);
    jitter(adapted);
    const before = await gradientsOf(adapted, inputs);
    expect(nonZero(before)).toContain('joint.xi');
    // The mean of all features is near each of them, its opposite away from all.
    const top = [...(await watched(adapted, 'block.output'))].find(([name]) => name === 'joint.1.output 0')![1];
    variable(adapted, 'joint.xi').assign(tf.neg(tf.mean(tf.reshape(top, [-1, 16]), 0)));
    expect(nonZero(await gradientsOf(adapted, inputs))).toEqual([]);
  });
});

describe('T8: the first pass', () => {
  it('runs outside the gradient, once per step, and changes nothing by that', async () => {
    const adapted = adapt(two, [toast()]);
    jitter(adapted);
    const [with_, without] = [await adapted.learn(inputs, tinyLoss), await adapted.learn(inputs, tinyLoss, { prefix: false })];
    expect(with_.observed).toBe(2 + 4); // both sources, the stacks and the cross blocks of the first pass
    expect(without.observed).toBe(0);
    toBeBitEqual(with_.loss, without.loss, 'loss');
    for (const [name, g] of with_.gradients) toBeAllClose(g, without.gradients.get(name)!, { relative: 1e-6 }, name);
  });

  it('keeps nothing of it on the tape: only steered blocks do', async () => {
    const adapted = adapt(one, [toast({ to: 1 })]);
    const learned = await adapted.learn(inputs, tinyLoss);
    expect(learned.observed).toBe(1 + 2);
  });

  it('and the second run outside too where TOAST itself is frozen, with the same gradients', async () => {
    const last = definePlugin({
      name: 'last', version: '1.0.0', hookApi: '1.0', options: z.strictObject({}),
      attach: (host) => host.sites({ role: 'logits' }).map((site) => {
        const shift = host.variable('shift', [3], zeros);
        return value(site, (x, step) => add(x, step.read(shift)));
      }),
    });
    for (const [beside, observed] of [[last(), 1 + 2 + 1], [scaler(), 1]] as const) { // source, both blocks, the second again; or the source alone
      const adapted = adapt(one, [toast({ to: 1 }, { trainable: false }), beside]);
      jitter(adapted);
      const [short, long] = [await adapted.learn(inputs, tinyLoss), await adapted.learn(inputs, tinyLoss, { prefix: false })];
      expect(short.observed).toBe(observed);
      for (const [name, g] of long.gradients) toBeAllClose(short.gradients.get(name)!, g, { relative: 5e-6 }, name);
    }
  });

  it('has dropout as in training, or none on request', async () => {
    const outputs = await Promise.all((['both', 'second'] as const).map(async (dropout) => {
      const adapted = adapt(one, [toast({ dropout })]);
      const seen = new Map<number, tf.Tensor>();
      await adapted.forward(inputs, { training: true, observe: (site, x, step) => site.path === 'joint.1.output' && seen.set(step.pass, tf.keep(primal(x).clone())) });
      return seen;
    }));
    const plain = (await watched(adapt(one, []), 'block.output')).get('joint.1.output 0')!;
    toDiffer(outputs[0]!.get(0)!, plain, 1e-3, 'first pass with dropout');
    expect(outputs[1]!.get(0)!.shape).toEqual(plain.shape);
    toDiffer(outputs[0]!.get(1)!, outputs[0]!.get(0)!, 1e-3, 'masks of the two passes');
  });
});

describe('T9: two streams', () => {
  it('values of cross-attention are those of the context, and so is the signal', async () => {
    const adapted = adapt(two, [toast()]);
    fillWith(adapted, 'vision.cross.0.b', 0.3); // vision alone is steered, in the first cross block
    const seen = await watched(adapted, 'cross.output');
    const of = (stream: string, pass: number) => seen.get([...seen.keys()].find((name) => name.startsWith('cross.0.') && name.includes(stream) && name.endsWith(String(pass)))!)!;
    toBeBitEqual(of('vision', 1), of('vision', 0), 'what vision takes from the text');
    toDiffer(of('text', 1), of('text', 0), 1e-3, 'what the text takes from vision');
  });

  it('a signal of the other stream does not fit', async () => {
    const site = two.scope.points.site.find((s) => s.role === 'cross.value.input' && s.stream === 'vision')!;
    await toRefuse(() => requireSameTokens(site, tf.zeros([3, 5, 16]), tf.zeros([3, 3, 16])), EspalierError, site.path, "stream 'vision'", '[3, 5, 16]', '[3, 3, 16]');
  });

  it('what the last block does for the vision stream is dead, and left out', async () => {
    const all = adapt(two, [toast({ scheme: 'b', readout: 'all', to: 0 })]);
    jitter(all);
    const alive = nonZero(await gradientsOf(all, inputs));
    const dead = [...all.parameters.keys()].map((name) => name.replace('toast/', '')).filter((name) => !alive.includes(name));
    expect(dead.sort()).toEqual(['text.cross.1.cross.b', 'vision.cross.1.attention.b']);
    const own = adapt(two, [toast({ scheme: 'b', to: 0 })]);
    expect([...own.parameters.keys()].filter((name) => dead.includes(name.replace('toast/', '')))).toEqual([]);
  });

  it('steers cross blocks by default: the stacks run once', async () => {
    const seen = await watched(adapt(two, [toast()]), 'block.output');
    expect(seen.size).toBe(2 + 2 * 2 + 2 * 2); // stacks, then two cross blocks of two streams each in each pass
  });
});

describe('the task vector', () => {
  it('of the question, the answer and the modality gives each sample and token its own', async () => {
    const cases: [typeof one, Parameters<typeof toast>[0], string[]][] = [
      [one, { task: 'question' }, ['joint.u']],
      [one, { task: 'answer' }, ['joint.u']],
      [one, { vectors: 'modality' }, ['joint.xi.text', 'joint.xi.region']],
      [two, { task: 'question' }, ['text.u', 'vision.u']],
      [two, { crossTop: true }, ['vision.cross']],
    ];
    for (const [model, options, names] of cases) {
      const adapted = adapt(model, [toast(options)]);
      jitter(adapted);
      const found = nonZero(await gradientsOf(adapted, inputs));
      for (const name of names) expect(found).toContain(name);
      const before = await adapted.forward(inputs);
      for (const name of names) fillWith(adapted, name, 2);
      toDiffer(await adapted.forward(inputs), before, 1e-6, `output of ${JSON.stringify(options)}`);
    }
  });

  it('starts where the features lie, from data', async () => {
    const adapted = adapt(two, [toast()]);
    await adapted.prepare(async function* () {
      await Promise.resolve();
      yield inputs;
    });
    const xi = variable(adapted, 'text.xi').dataSync();
    const top = (await watched(adapt(two, []), 'block.output')).get('cross.1.text.output 0')!;
    const masked = tf.sum(tf.mul(top, tf.expandDims(inputs.textMask, -1)), [0, 1]).dataSync();
    const scale = Math.sqrt(16) / Math.hypot(...masked);
    toBeAllClose(xi, masked.map((v) => v * scale), { relative: 1e-5 }, 'xi');
    fillWith(adapted, 'text.xi', 1);
    const set = variable(adapted, 'text.xi').dataSync().slice();
    await adapted.prepare(async function* () {
      await Promise.resolve();
      yield inputs;
    });
    toBeBitEqual(variable(adapted, 'text.xi').dataSync(), set, 'xi after a second call');
  });
});

describe('T12: what can be switched off', () => {
  const steered = async (options: Parameters<typeof toast>[0]) => {
    const adapted = adapt(one, [toast({ to: 0, ...options })]);
    jitter(adapted);
    const inputsOf = await watched(adapted, 'attention.value.input');
    const outputs = await watched(adapted, 'block.output');
    const h = (await watched(adapt(one, []), 'attention.value.input')).get('joint.0.attention.value.input 0')!;
    const td = tf.reshape(tf.sub(inputsOf.get('joint.0.attention.value.input 1')!, h), [-1, 16]);
    const x = tf.reshape(outputs.get('joint.1.output 0')!, [-1, 16]);
    const of = (name: string) => variable(adapted, `joint.${name}`);
    return { td, x, of, names: [...adapted.parameters.keys()].map((n) => n.replace('toast/joint.', '')).sort() };
  };
  const gate = (x: tf.Tensor, xi: tf.Tensor) => {
    const unit = (t: tf.Tensor) => tf.div(t, tf.norm(t, 2, -1, true));
    return tf.clipByValue(tf.matMul(unit(x) as tf.Tensor2D, tf.reshape(unit(xi), [16, 1]) as tf.Tensor2D), 0, 1);
  };
  const product = (...all: tf.Tensor[]) => all.reduce((p, m) => tf.matMul(p as tf.Tensor2D, m as tf.Tensor2D));
  const close = (actual: tf.Tensor, expected: tf.Tensor) => toBeAllClose(actual, expected, { relative: 1e-5, absolute: 1e-6 }, 'signal');

  it('nothing: gate, P, A and B', async () => {
    const { td, x, of, names } = await steered({ freezeP: false });
    expect(names).toEqual(['0.a', '0.b', '1.a', '1.b', 'p', 'xi']);
    close(td, product(tf.mul(x, gate(x, of('xi'))), of('p'), of('1.a'), of('0.a'), of('0.b')));
  });
  it('the gate: every token whole', async () => {
    const { td, x, of, names } = await steered({ gate: false });
    expect(names).toEqual(['0.a', '0.b', '1.a', '1.b']);
    close(td, product(x, of('1.a'), of('0.a'), of('0.b')));
  });
  it('P: the identity', async () => {
    const { td, x, of } = await steered({ freezeP: true });
    close(td, product(tf.mul(x, gate(x, of('xi'))), of('1.a'), of('0.a'), of('0.b')));
  });
  it('A: tokens are selected, channels are not, and B carries them', async () => {
    const { td, x, of, names } = await steered({ freezeA: true });
    expect(names).toEqual(['0.b', '1.b', 'xi']);
    close(td, product(tf.mul(x, gate(x, of('xi'))), of('0.b')));
  });
  it('all but B', async () => {
    const { td, x, of, names } = await steered({ freezeA: true, gate: false });
    expect(names).toEqual(['0.b', '1.b']);
    close(td, product(x, of('0.b')));
  });
  it('whole maps: low rank beside the identity and zero', async () => {
    const { td, x, of } = await steered({ feedback: 'lite', rank: 2, alpha: 3 });
    const map = (name: string) => tf.mul(1.5, product(of(`${name}.down`), of(`${name}.up`)));
    const a = (i: number) => tf.add(tf.eye(16), map(`${i}.a`));
    close(td, product(tf.mul(x, gate(x, of('xi'))), of('p'), a(1), a(0), map('0.b')));
  });
});

describe('bad input', () => {
  const refuses = (model: typeof one, options: unknown, ...words: string[]) => toRefuse(() => adapt(model, [toast.from(options)]), OptionsError, 'toast', ...words);
  it('says what is wrong with indices', async () => {
    await refuses(one, { from: 1, to: 1 }, 'from', 'larger than to');
    await refuses(one, { from: 3 }, "'from'", '3', 'has 2 blocks');
    await refuses(one, { to: 2 }, "'to'", '2 blocks', '0 <= to < from');
    await refuses(two, { from: 2 }, "'to': 2 with feedback from 2"); // cross blocks begin there
  });
  it('refuses options without effect and what a model lacks', async () => {
    await refuses(one, { rank: 4 }, 'rank', 'lite');
    await refuses(one, { scheme: 'b' }, 'scheme', 'no cross-attention');
    await refuses(one, { crossTop: true }, 'crossTop', 'one stream');
    await refuses(two, { vectors: 'modality' }, 'vectors', 'text, vision');
    await refuses(one, { gate: false, task: 'question' }, 'task', 'gate');
    await refuses(one, { reconstruction: 1, freezeA: true }, 'reconstruction', 'frozen');
    await refuses(one, { taskRank: 2 }, 'taskRank', 'static');
    await refuses(two, { crossTop: true, task: 'answer' }, 'crossTop');
    await refuses(one, { feedback: 'lit' }, "'feedback'", "Did you mean 'lite'?");
    await refuses(one, { late: 3 }, "no option 'late'");
    await toRefuse(() => adapt({ ...one, tokens: undefined! }, [toast({ task: 'question' })]), OptionsError, "'task'", 'tokens');
  });
  it('refuses to be merged, and says why', () =>
    toRefuse(() => adapt(one, [toast()]).merge(), RefusedError, "'toast'", 'depends on the input'));
  it('refuses streams that grow between the passes', async () => {
    const grow = definePlugin({
      name: 'grow', version: '1.0.0', hookApi: '1.0', options: z.strictObject({}),
      attach: (host) => host.stages({ role: 'block', block: [0, 1] }).map((b) => around(b, 'edit', (run, s) =>
        run(update(s, 'joint', (x) => ({ hidden: concat([x.hidden, tf.zeros([3, 1, 16])], 1), mask: tf.concat([x.mask, tf.zeros([3, 1, 1, 1])], 3) }))), { passes: [1, 2] })),
    });
    await toRefuse(() => adapt(one, [toast(), grow()]).forward(inputs), EspalierError, "stream 'joint'", 'token by token');
  });
});

describe('without plugins', () => {
  it('the model is the pretrained one, and branches that run so are steered or not', async () => {
    const adapted = adapt(one, [toast()]);
    jitter(adapted);
    toBeBitEqual(await adapted.forward(inputs, { variant: 'pretrained' }), await adapt(one, []).forward(inputs), "variant 'pretrained'");
    const plain = definePlugin({
      name: 'plain', version: '1.0.0', hookApi: '1.0', options: z.strictObject({}),
      attach: (host) => host.stages({ role: 'block' }).map((b) => around(b, 'route', (run, s) => run(s, { variant: 'pretrained' }))),
    });
    const outputs = [];
    for (const steerPretrained of [true, false]) {
      const routed = adapt(one, [toast({ steerPretrained }), plain()]);
      jitter(routed);
      outputs.push(await routed.forward(inputs));
    }
    const whole = await adapted.forward(inputs);
    expect(distanceOf(outputs[0]!, whole).distance).toBe(0);
    toBeBitEqual(outputs[1]!, await adapted.forward(inputs, { variant: 'pretrained' }), 'output of branches that are not steered');
  });
});
