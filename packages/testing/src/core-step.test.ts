import * as tf from '@tensorflow/tfjs';
import {
  adapt, add, around, begin, EspalierError, group, matMul, mul, normal, ones, reshape, scale, sigmoid, value, weight, withLowRank,
  type Adapted, type Host, type LinearParams, type Plugin, type Run, type SitePoint, type Slot, type StageMode, type Step, type Streams, type Variant,
} from '@espalier/core';
import { afterAll, afterEach, beforeEach, describe, expect, it } from 'vitest';
import { inline } from './inline.ts';
import type { TinyInputs } from './inputs.ts';
import { toBeAllClose } from './matchers.ts';
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
const put = (...plugins: Plugin[]) => {
  const adapted = adapt(one, plugins);
  held.push(adapted);
  return adapted;
};
async function output(adapted: Adapted<TinyInputs>, options: Parameters<typeof adapted.forward>[1] = {}): Promise<Float32Array> {
  const y = await adapted.forward(inputs, options);
  const values = y.dataSync<'float32'>().slice();
  y.dispose();
  return values;
}
const block = (host: Host, i = 0) => host.stages({ role: 'block', block: [i, i + 1] })[0]!;
/** Adds a low-rank product to every query, never zero. */
const update = (name: string, always = false) =>
  inline(name, (host) =>
    host.linears({ role: 'attention.query' }).map((w) => {
      const [a, b] = [host.variable(`${w.path}.a`, [w.in, 2], normal(0.4)), host.variable(`${w.path}.b`, [2, w.out], normal(0.4))];
      return weight(w, (p, step) => withLowRank(p, step.read(a), step.read(b)), { always });
    }),
  );

describe('run', () => {
  const log: string[] = [];
  const logs = (name: string, mode: StageMode, run: (run: Run, s: Streams, step: Step) => Streams, always = false) =>
    inline(name, (host) => [around(block(host), mode, (inside, s, step) => (log.push(name), run(inside, s, step)), { always })]);
  const walk = async (plugins: Plugin[], variant: Variant = 'adapted') => {
    log.length = 0;
    await output(put(...plugins), { variant });
    return log.join(' ');
  };
  const edit = (name: string, always = false) => logs(name, 'edit', (run, s) => run(s), always);
  const switching = (variant: Variant) => logs('switch', 'route', (run, s) => run(s, { variant }));

  it('goes on with the hooks after the caller, of the variant asked for', async () => {
    expect(await walk([edit('a'), edit('b'), edit('c')])).toBe('a b c');
    expect(await walk([edit('a'), switching('pretrained'), edit('c'), edit('d', true)])).toBe('a switch d');
    expect(await walk([edit('a'), switching(['c']), edit('b'), edit('c')])).toBe('a switch c');
    expect(await walk([edit('a'), switching('adapted'), edit('c')], ['switch'])).toBe('switch c');
    expect(await walk([edit('a'), switching('pretrained')], 'pretrained')).toBe('');
  });

  it('runs the inside as often as it is called, or not at all', async () => {
    expect(await walk([logs('twice', 'repeat', (run, s) => run(run(s))), edit('c')])).toBe('twice c c');
    expect(await walk([logs('skip', 'route', (_, s) => s), edit('c')])).toBe('skip');
  });

  it('books a variant of the stage as what that variant computes', async () => {
    const plain = await output(put());
    const all = ['joint.0', 'joint.1'].map((path) => inline(`off-${path}`, (host) => [around(host.stages({ role: 'block', path })[0]!, 'route', (run, s) => run(s, { variant: 'pretrained' }))]));
    expect(await output(put(update('lora'), ...all))).toEqual(plain);
    expect(await output(put(update('lora')))).not.toEqual(plain);
  });
});

describe('variants', () => {
  it('are sets of instances', async () => {
    const both = put(update('x'), update('y'));
    expect(await output(both, { variant: 'pretrained' })).toEqual(await output(put()));
    expect(await output(both, { variant: [] })).toEqual(await output(put()));
    expect(await output(both, { variant: ['x'] })).toEqual(await output(put(update('x'))));
    expect(await output(both, { variant: ['y'] })).toEqual(await output(put(update('y'))));
    expect(await output(both, { variant: ['y', 'x'] })).toEqual(await output(both));
    expect(await output(put(update('x', true)), { variant: 'pretrained' })).toEqual(await output(put(update('x'))));
  });
});

describe('passes and ranges', () => {
  const repeat = (...changes: Parameters<Run>[1][]) =>
    inline('repeat', (host) => [around(host.stages({ role: 'encoder' })[0]!, 'repeat', (run, s) => changes.reduce<Streams>((x, change) => run(x, change), s))]);
  const count = async (...plugins: Plugin[]) => {
    const seen = new Map<string, number>();
    const step = { observe: (site: SitePoint) => void seen.set(site.path, (seen.get(site.path) ?? 0) + 1) };
    await output(put(...plugins), step);
    return (path: string) => seen.get(path) ?? 0;
  };

  it('a hook acts in its passes only', async () => {
    const passes: number[] = [];
    const hook = (from: number, to: number) =>
      inline('hook', (host) => [value(host.sites({ role: 'block.output', path: 'joint.1' })[0]!, (x, step) => (passes.push(step.pass), x), { passes: [from, to] })]);
    await output(put(repeat({}, { pass: 1 }, { pass: 2 }), hook(1, 2)));
    expect(passes.splice(0)).toEqual([1]);
    await output(put(repeat({}, { pass: 1 }, { pass: 2 }), hook(1, Infinity)));
    expect(passes.splice(0)).toEqual([1, 2]);
  });

  it('a range runs its blocks only', async () => {
    const whole = await count(repeat({}));
    expect([whole('joint.0.output'), whole('joint.1.output')]).toEqual([1, 1]);
    const part = await count(repeat({}, { range: [1, 2] }, { range: [0, 0] }));
    expect([part('joint.0.output'), part('joint.1.output'), part('head.logits')]).toEqual([1, 2, 1]);
  });

  it('every site is seen, a linear by what it reads and what it gives', async () => {
    const seen = await count();
    expect(one.scope.points.site.filter((s) => seen(s.path) !== 1).map((s) => s.path)).toEqual([]);
    expect(seen('joint.0.attention.query.input')).toBe(1);
  });
});

describe('slots', () => {
  const split = inline('split', (host) => [around(block(host), 'route', (run, s, step) => group(step, [false, true, false], s, (x, r) => run(x, r && { rows: r }), (x, r) => run(x, r && { rows: r })))]);

  it('are cut to the rows that run', async () => {
    const seen: number[][] = [];
    const reader = inline('reader', (host) => {
      const slot: Slot<{ each: tf.Tensor; word: string }> = host.slot('signal');
      return [
        begin((step) => step.set(slot, { each: tf.tensor2d([[10], [11], [12]]), word: 'as it is' })),
        value(host.sites({ role: 'block.output', path: 'joint.0' })[0]!, (x, step) => {
          const { each, word } = step.get(slot);
          seen.push([...each.dataSync()]);
          expect([word, each.shape[0], step.samples.length]).toEqual(['as it is', x.shape[0], x.shape[0]]);
          return x;
        }),
      ];
    });
    await output(put(split, reader));
    expect(seen).toEqual([[11], [10, 12]]);
  });

  it('compose rows of rows into positions in the batch', async () => {
    const seen: unknown[] = [];
    const nest = inline('nest', (host) => [
      around(block(host), 'route', (run, s, step) => group(step, [true, false, true], s, (x, r) => run(x, r && { rows: r }), (x, r) => run(x, r && { rows: r }))),
      around(host.stages({ role: 'attention', block: [0, 1] })[0]!, 'route', (run, s, step) => {
        const last = step.samples.map((_, i) => i === step.samples.length - 1);
        return group(step, last, s, (x, r) => run(x, r && { rows: r }), (x, r) => run(x, r && { rows: r }));
      }),
      value(host.sites({ role: 'attention.context', block: [0, 1] })[0]!, (x, step) => (seen.push(step.rows), x)),
    ]);
    await output(put(nest), { samples: ['a', 'b', 'c'] });
    expect(seen).toEqual([[2], [0], [1]]);
  });

  it('are written before rows are split and read after they are written', async () => {
    const late = inline('late', (host) => {
      const slot: Slot<tf.Tensor> = host.slot('x');
      return [value(host.sites({ role: 'block.output', path: 'joint.0' })[0]!, (x, step) => (step.set(slot, tf.zeros([3])), x))];
    });
    await expect(output(put(split, late))).rejects.toThrow("slot 'late/x' set inside a branch of some rows: set it before routing");
    const early = inline('early', (host) => {
      const slot: Slot<tf.Tensor> = host.slot('x');
      return [value(host.sites({ role: 'pooled' })[0]!, (x, step) => (expect(step.has(slot)).toBe(false), step.get(slot), x))];
    });
    await expect(output(put(early))).rejects.toThrow("slot 'early/x' read before it was set");
  });

  it('never dispose what is older than the step', async () => {
    const keeper = inline('keeper', (host) => {
      const slot: Slot<unknown> = host.slot('x');
      return [begin((step) => step.set(slot, [inputs.features, one.tensors.get('head.pooler.kernel')]))];
    });
    await output(put(keeper));
    expect([inputs.features.isDisposed, one.tensors.get('head.pooler.kernel')!.isDisposed]).toEqual([false, false]);
  });
});

describe('effective weights', () => {
  let calls = 0;
  const generator = inline('generator', (host) =>
    host.linears({ role: 'attention.query' }).map((w) => {
      const gain = host.variable(`${w.path}.gain`, [w.out], ones);
      return weight(w, (p, step) => (calls++, { ...p, kernel: mul(p.kernel, step.read(gain)) }), { mode: 'scale' });
    }),
  );
  const counted = async (f: () => Promise<unknown>) => {
    calls = 0;
    await f();
    return calls;
  };
  const repeat = inline('repeat', (host) => [
    around(host.stages({ role: 'encoder' })[0]!, 'repeat', (run, s) => run(run(s), { pass: 1 })),
    ...host.stages({ role: 'block' }).map((b) => around(b, 'route', (run, s, step) => group(step, [true, false, true], s, (x, r) => run(x, r && { rows: r }), (x, r) => run(x, r && { rows: r })))),
  ]);

  it('are made once for all passes, branches and uses', async () => {
    expect(await counted(() => output(put(generator)))).toBe(2);
    expect(await counted(() => output(put(generator, repeat)))).toBe(2);
    const shared = adapt(two, [inline('shared', (host) => host.linears({ role: 'cross.query' }).map((w) => weight(w, (p) => (calls++, { ...p, kernel: scale(p.kernel, 2) }))))]);
    expect(await counted(async () => tf.dispose(await shared.forward(inputs)))).toBe(2); // two cross blocks, both directions
  });

  it('are scaled whole, with what earlier scalings left in the tail, whether a scaling reads tails itself or not', async () => {
    const mixes = (name: string, tail: boolean) =>
      inline(name, (host) =>
        host.linears({ role: 'attention.query' }).map((w) => {
          const [a, b] = [host.variable(`${w.path}.a`, [w.in, 2], normal(0.4)), host.variable(`${w.path}.b`, [2, w.in], normal(0.4))];
          const through = (p: LinearParams, step: Step) => p.lowRank.reduce((c, l) => add(c, matMul(matMul(step.read(b), l.a), l.b)), matMul(step.read(b), p.kernel));
          return weight(w, (p, step) => (seen.push(p.lowRank.length), withLowRank(p, step.read(a), through(p, step))), { mode: 'scale', tail });
        }),
      );
    const seen: number[] = [];
    const outputs = [];
    for (const tail of [true, false]) outputs.push(await output(put(mixes('first', tail), mixes('second', tail))));
    expect(seen).toEqual([0, 1, 0, 1, 0, 0, 0, 0]);
    toBeAllClose(outputs[1]!, outputs[0]!, { relative: 1e-6 });
  });

  it('made off the tape are made again on it, where they carry a gradient', async () => {
    const eager = inline('eager', (host) => [begin((step) => void host.linears({ role: 'attention.query' }).map((w) => step.weight(w)))]);
    const [plain, hurried] = [put(generator), put(generator, eager)];
    const expected = await gradientsOf(plain, inputs);
    let found = new Map<string, Float32Array>();
    expect(await counted(async () => (found = await gradientsOf(hurried, inputs)))).toBe(4);
    expect(found).toEqual(expected);
    expect([...found.values()].every((g) => g.some((x) => x !== 0))).toBe(true);
  });
});

describe('begin', () => {
  it('may wait, and hooks run in order', async () => {
    const log: string[] = [];
    const waits = inline('waits', (host) => {
      const slot: Slot<number> = host.slot('x');
      return [
        begin(async (step) => {
          const [first] = await inputs.features.data();
          log.push('waits');
          step.set(slot, first!);
        }),
        value(host.sites({ role: 'pooled' })[0]!, (x, step) => (log.push(`read ${step.get(slot) === inputs.features.dataSync()[0]}`), x)),
      ];
    });
    await output(put(waits, inline('next', () => [begin(() => void log.push('next'))])));
    expect(log).toEqual(['waits', 'next', 'read true']);
  });

  it('that fails leaves nothing behind', async () => {
    const fails = inline('fails', (host) => {
      const slot: Slot<tf.Tensor> = host.slot('x');
      return [begin(async (step) => {
        step.set(slot, tf.zeros([5]));
        await Promise.reject(new Error('no decision'));
      })];
    });
    await expect(output(put(fails))).rejects.toThrow('no decision');
    await expect(gradientsOf(put(fails, update('lora')), inputs)).rejects.toThrow('no decision');
  });
});

describe('a decision', () => {
  /** Scales the pooled vector by sigmoid(v): as a leaf made in `begin`, on the tape, or half of each. */
  const gated = (how: 'leaf' | 'tape' | 'both') =>
    inline('gated', (host) => {
      const v = host.variable('v', [16], normal(0.5));
      const slot: Slot<tf.Tensor> = host.slot('gate');
      const decide = begin((step) => {
        const gate = tf.sigmoid(v.variable);
        step.decide(slot, { value: gate, backward: (dy) => ({ [v.path]: tf.mul(dy, tf.mul(gate, tf.sub(1, gate))) }) });
      });
      const fromTape = (step: Step) => sigmoid(step.read(v));
      return [
        ...(how === 'tape' ? [] : [decide]),
        value(host.sites({ role: 'pooled' })[0]!, (x, step) => {
          if (how === 'tape') return mul(x, fromTape(step));
          return mul(x, how === 'leaf' ? step.get(slot) : scale(add(step.get(slot), fromTape(step)), 0.5));
        }),
      ];
    });

  it('is a leaf whose gradient goes back to the variables it was made from', async () => {
    const [leaf, tape, both] = [put(gated('leaf')), put(gated('tape')), put(gated('both'))];
    const expected = (await gradientsOf(tape, inputs)).get('gated/v')!;
    toBeAllClose((await gradientsOf(leaf, inputs)).get('gated/v')!, expected, { relative: 1e-6 });
    toBeAllClose((await gradientsOf(both, inputs)).get('gated/v')!, expected, { relative: 1e-6 });
    toBeAllClose((await gradientsOf(leaf, inputs, { recompute: true })).get('gated/v')!, expected, { relative: 1e-6 });
  });
});

describe('a bare step', () => {
  it('runs a model inside the step without plugins', async () => {
    const teacher = inline('teacher', (host) => [value(host.sites({ role: 'logits' })[0]!, (_, step) => one.forward(inputs, step.bare()))]);
    expect(await output(put(update('lora'), teacher))).toEqual(await output(put()));
  });
});

describe('learning', () => {
  it('sums the task loss and the losses that plugins add, once', async () => {
    const auxiliary = inline('auxiliary', (host) => {
      const v = host.variable('v', [2], ones);
      return host.sites({ role: 'block.output' }).map((site) => value(site, (x, step) => (step.loss('penalty', tf.sum(tf.square(v.variable)).mul(0.25)), x)));
    });
    const adapted = put(auxiliary, update('lora'));
    const learned = await adapted.learn(inputs, tinyLoss, {});
    const task = learned.losses.get('task')!.dataSync()[0]!;
    expect(learned.losses.get('penalty')!.dataSync()[0]).toBeCloseTo(1, 6); // two blocks, two entries, a quarter each
    expect(learned.loss.dataSync()[0]).toBeCloseTo(task + 1, 5);
    expect([...learned.gradients.get('auxiliary/v')!.dataSync()]).toEqual([1, 1]);
    expect(learned.output.shape).toEqual([3, 3]);
    learned.dispose();
  });

  it('has variables only from trainable plugins, and refuses without any', async () => {
    const frozen = inline('frozen', (host) => [value(host.sites({ role: 'pooled' })[0]!, (x, step) => mul(x, step.read(host.variable('g', [16], ones))))], { trainable: false });
    await expect(gradientsOf(put(frozen), inputs)).rejects.toThrow(EspalierError);
    await expect(gradientsOf(put(), inputs)).rejects.toThrow('nothing to train');
  });

  it('hooks a variable of another plugin as a place', async () => {
    const doubled = inline('doubled', (host) => host.parameters('lora').map((p) => {
      const gain = host.variable(`${p.path}.gain`, [1], ones);
      return weight(p, ({ value: v }, step) => ({ value: mul(v, step.read(gain)) }));
    }));
    const plain = put(update('lora'));
    const adapted = put(update('lora'), doubled);
    expect(await output(adapted)).toEqual(await output(plain));
    expect(await output(adapted, { variant: ['lora'] })).toEqual(await output(plain));
    jitter(adapted);
    const gradients = await gradientsOf(adapted, inputs);
    expect([...adapted.parameters.keys()].filter((name) => !gradients.get(name)?.some((x) => x !== 0))).toEqual([]);
  });

  it('a padding row gets no gradient, even where it is seen', async () => {
    const words = inline('words', (host) => host.embeddings({ role: 'embed.words' }).map((at) => {
      const table = host.variable('table', [at.rows, at.dim], () => one.tensors.get(`${at.path}.table`)!.dataSync<'float32'>().slice());
      return weight(at, (_, step) => ({ table: step.read(table) }), { mode: 'replace' });
    }));
    const zeroed = { ...inputs, ids: tf.tidy(() => tf.mul<tf.Tensor2D>(inputs.ids, tf.tensor2d([[1, 0, 1, 1, 1]], [1, 5], 'int32'))) };
    const gradients = await gradientsOf(put(words), zeroed);
    zeroed.ids.dispose();
    const g = gradients.get('words/table')!;
    expect(g.slice(0, 16).every((x) => x === 0)).toBe(true);
    expect(g.slice(16).some((x) => x !== 0)).toBe(true);
  });
});

describe('products', () => {
  it('an activation form is used only where its plugin is alone on the weight', async () => {
    let used = 0;
    const form = inline('form', (host) =>
      host.linears({ role: 'attention.query', block: [0, 1] }).map((w) => {
        const b = host.variable('b', [w.in, w.out], normal(0.1));
        return weight(w, (p, step) => ({ ...p, kernel: add(p.kernel, step.read(b)) }), {
          activation: (x, p, step) => {
            used++;
            const flat = reshape(x, [-1, w.in]);
            return reshape(add(add(matMul(flat, p.kernel), matMul(flat, step.read(b))), p.bias!), x.shape);
          },
        });
      }),
    );
    const alone = await output(put(form));
    expect(used).toBe(1);
    const none = inline('none', (host) => host.linears({ role: 'attention.query', block: [0, 1] }).map((w) => weight(w, (p) => p)));
    toBeAllClose(await output(put(form, none)), alone, { relative: 1e-5 });
    expect(used).toBe(1);
  });
});
