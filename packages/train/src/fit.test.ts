import * as tf from '@tensorflow/tfjs';
import { EspalierError, OptionsError } from '@espalier/core';
import { toBeAllClose, toBeBitEqual, toLeakNothing, toRefuse, useCpu } from '@espalier/testing';
import { firstValueFrom, map, toArray } from 'rxjs';
import { beforeAll, expect, it } from 'vitest';
import { lossOf, tinyTraining, type TinyTaskOptions, type TinyTraining } from '../fixtures/tiny-task.ts';
import type { TrainEvent } from './events.ts';
import { fit, type Run } from './fit.ts';
import { adamW, sgd } from './methods.ts';
import type { FitOptions } from './options.ts';
import { schedule } from './schedule.ts';

beforeAll(useCpu);

const adaptive = { default: { method: adamW(), rate: 1e-2 }, policy: { method: adamW(), rate: 5e-2 } };
const plain = { default: { method: sgd(), rate: 1e-2 }, policy: { method: sgd(), rate: 1e-2 } };

/** Runs a training to its end: its events, summary and final variables. */
async function trained(options: Omit<FitOptions, 'optimisers'> & Partial<FitOptions>, of: TinyTaskOptions = {}) {
  const t = tinyTraining(of);
  const run = fit(t.adapted, t.task, { optimisers: adaptive, ...options });
  const events = firstValueFrom(run.events.pipe(toArray()));
  try {
    return { summary: await run.done, events: await events, variables: await t.variables() };
  } finally {
    t.dispose();
  }
}

/** A training that is disposed whatever happens. */
async function using(of: TinyTaskOptions, f: (t: TinyTraining) => Promise<void>): Promise<void> {
  const t = tinyTraining(of);
  try {
    await f(t);
  } finally {
    t.dispose();
  }
}

/** What a task's own functions refer to. */
const held: { t?: TinyTraining; run?: Run } = {};

const ofType = <K extends TrainEvent['type']>(events: readonly TrainEvent[], type: K) =>
  events.filter((e): e is Extract<TrainEvent, { type: K }> => e.type === type);

it('learns, and tells of it in order', async () => {
  const { summary, events } = await trained({ epochs: 15 }, { dropout: 0 });
  const steps = ofType(events, 'step');
  expect(events.slice(0, 5).map((e) => e.type)).toEqual(['start', 'step', 'step', 'step', 'epoch']);
  expect(events.at(-1)!.type).toBe('done');
  expect(events[0]).toMatchObject({ step: 0, epoch: 1, steps: 45, epochs: 15, stepsPerEpoch: 3, resumed: undefined, ignored: [] });
  expect(steps.map((e) => e.step)).toEqual(Array.from({ length: 45 }, (_, i) => i + 1));
  expect(steps.map((e) => e.epoch)).toEqual(Array.from({ length: 45 }, (_, i) => 1 + Math.floor(i / 3)));
  const epochs = ofType(events, 'epoch');
  expect(epochs).toHaveLength(15);
  expect(epochs.at(-1)!.loss).toBeLessThan(epochs[0]!.loss - 0.3);
  expect(epochs[2]!.loss).toBeCloseTo((steps[6]!.loss + steps[7]!.loss + steps[8]!.loss) / 3, 12);
  expect(epochs[2]!.accuracy).toBeCloseTo((steps[6]!.accuracy! + steps[7]!.accuracy! + steps[8]!.accuracy!) / 3, 12);
  expect(steps[0]!.losses).toEqual({ task: steps[0]!.loss });
  expect(steps.at(-1)!.eta).toBe(0);
  expect(steps.every((e) => e.samplesPerSecond > 0 && e.gradientNorm > 0)).toBe(true);
  expect(summary).toMatchObject({ step: 45, epoch: 15, stopped: false, reason: 'finished', loss: steps.at(-1)!.loss, samples: 180, best: undefined, checkpoint: undefined });
});

it('gives the same numbers again, and others for another seed', async () => {
  const [a, b, c] = [await trained({ maxSteps: 5 }), await trained({ maxSteps: 5 }), await trained({ maxSteps: 5, seed: 9 })];
  for (const [path, values] of a.variables) toBeBitEqual(b.variables.get(path)!, values, path);
  const moved = [...a.variables].filter(([path, values]) => values.some((x, i) => x !== c.variables.get(path)![i]));
  expect(moved.length).toBe(a.variables.size); // dropout is keyed by the seed
});

it('computes the same with recomputed activations', async () => {
  const [a, b] = [await trained({ maxSteps: 3 }), await trained({ maxSteps: 3, recompute: true })];
  for (const [path, values] of a.variables) toBeAllClose(b.variables.get(path)!, values, { absolute: 1e-6 }, path);
});

it('moves by the scheduled rates', async () => {
  const optimisers = { default: { method: sgd(), rate: 0.4, schedule: schedule({ shape: 'linear', warmup: { steps: 2 } }) }, policy: { method: sgd(), rate: 0.1 } };
  const { events } = await trained({ epochs: 2, optimisers });
  expect(ofType(events, 'step').map((e) => e.learningRates.default!.toFixed(3))).toEqual(['0.200', '0.400', '0.400', '0.300', '0.200', '0.100']);
  expect(ofType(events, 'step').every((e) => e.learningRates.policy === 0.1)).toBe(true);
});

it('clips by the global norm over all groups', async () => {
  const rate = 1;
  const optimisers = { default: { method: sgd(), rate }, policy: { method: sgd(), rate } };
  await using({}, async (t) => {
    const before = await t.variables();
    const run = fit(t.adapted, t.task, { maxSteps: 1, optimisers, clip: 0.01 });
    const events = firstValueFrom(run.events.pipe(toArray()));
    await run.done;
    const after = await t.variables();
    const moved = [...before].reduce((sum, [path, x]) => sum + x.reduce((s, v, i) => s + (after.get(path)![i]! - v) ** 2, 0), 0);
    expect(ofType(await events, 'step')[0]!.gradientNorm).toBeGreaterThan(0.5); // as it was before clipping
    expect(Math.sqrt(moved)).toBeCloseTo(0.01, 5);
  });
});

it.each([0.02, Infinity])('a group with clip %d of its own is clipped apart', async (own) => {
  const move = async (policy: object, clip: number) => {
    const found: Record<string, number> = {};
    await using({}, async (t) => {
      const before = await t.variables();
      const run = fit(t.adapted, t.task, { maxSteps: 1, clip, optimisers: { default: { method: sgd(), rate: 1 }, policy: { method: sgd(), rate: 1, ...policy } } });
      const events = firstValueFrom(run.events.pipe(toArray()));
      await run.done;
      const after = await t.variables();
      for (const { path, group } of t.adapted.trainable)
        found[group] = (found[group] ?? 0) + before.get(path)!.reduce((s, v, i) => s + (after.get(path)![i]! - v) ** 2, 0);
      found['reported'] = ofType(await events, 'step')[0]!.gradientNorm ** 2;
    });
    return { default: Math.sqrt(found['default']!), policy: Math.sqrt(found['policy']!), reported: Math.sqrt(found['reported']!) };
  };
  const free = await move({}, Infinity);
  const apart = await move({ clip: own }, 0.01);
  expect(free.policy).toBeGreaterThan(0.02);
  expect(apart.policy).toBeCloseTo(Math.min(own, free.policy), 5);
  expect(apart.default).toBeCloseTo(0.01, 5);
  expect(apart.reported).toBeCloseTo(free.reported, 5); // of everything, before clipping
  const together = await move({}, 0.01);
  expect(Math.hypot(together.default, together.policy)).toBeCloseTo(0.01, 5);
});

it.each([[4, 3], [5, 3], [1, 12], [5, 2]])('batches of %i, %i accumulated, equal the big batch', async (batchSize, accumulate) => {
  const epochs = 3;
  const size = batchSize * accumulate;
  const options = { epochs, optimisers: { default: { method: sgd({ momentum: 0.9 }), rate: 1e-2 }, policy: { method: sgd(), rate: 1e-2 } } };
  const big = await trained({ ...options }, { batchSize: size });
  const small = await trained({ ...options, accumulate }, { batchSize });
  for (const [path, values] of big.variables) toBeAllClose(small.variables.get(path)!, values, { relative: 0, absolute: 1e-6 }, path);
  const [a, b] = [ofType(big.events, 'step'), ofType(small.events, 'step')];
  expect(b.length).toBe(a.length);
  a.forEach((e, i) => {
    expect(b[i]!.loss).toBeCloseTo(e.loss, 5);
    expect(b[i]!.accuracy).toBeCloseTo(e.accuracy!, 6);
    expect(b[i]!.gradientNorm).toBeCloseTo(e.gradientNorm, 4);
  });
  expect(small.summary.samples).toBe(big.summary.samples);
});

it('ends at maxSteps in the middle of an epoch', async () => {
  const { summary, events } = await trained({ maxSteps: 4, epochs: 10 }, { validate: () => Promise.resolve({ found: 1 }) });
  expect(summary).toMatchObject({ step: 4, epoch: 2, reason: 'finished' });
  expect(ofType(events, 'evaluation').map((e) => e.step)).toEqual([3, 4]); // the end is always evaluated
  expect(ofType(events, 'epoch')).toHaveLength(1);
});

it('evaluates every so many epochs and at the end', async () => {
  const { events } = await trained({ epochs: 5, evaluateEvery: 2 }, { batchSize: 12, validate: () => Promise.resolve({ found: 1 }) });
  expect(ofType(events, 'evaluation').map((e) => e.epoch)).toEqual([2, 4, 5]);
});

it('stops early when patience ends, and restores the best variables', async () => {
  const values = [0.5, 0.7, 0.6, 0.7, 0.1, 0.9];
  const seen: Map<string, Float32Array>[] = [];
  await using({
    batchSize: 12,
    validate: async () => {
      seen.push(await held.t!.variables());
      return { accuracy: values[seen.length - 1]! };
    },
  }, async (t) => {
    held.t = t;
    const run = fit(t.adapted, t.task, { epochs: 6, optimisers: adaptive, best: { metric: 'accuracy', patience: 2 } });
    const events = firstValueFrom(run.events.pipe(toArray()));
    const summary = await run.done;
    expect(summary).toMatchObject({ reason: 'patience', stopped: false, step: 4, best: { step: 2, epoch: 2, value: 0.7, metrics: { accuracy: 0.7 } } });
    expect(ofType(await events, 'evaluation').map((e) => e.best)).toEqual([true, true, false, false]); // equal is not better
    for (const [path, x] of await t.variables()) toBeBitEqual(x, seen[1]!.get(path)!, path);
  });
});

it('takes the smallest value as the best when asked to', async () => {
  await using({ validate: () => lossOf(() => held.t!)() }, async (t) => {
    held.t = t;
    const summary = await fit(t.adapted, t.task, { epochs: 4, optimisers: adaptive, best: { metric: 'loss', goal: 'min' } }).done;
    expect(summary.best!.value).toBeCloseTo((await lossOf(() => t)()).loss, 6);
  });
});

it('stop() finishes the step, all its batches included, and leaves the variables of the last one', async () => {
  const before = await trained({ maxSteps: 3, accumulate: 2 });
  await using({}, async (t) => {
    const run = fit(t.adapted, t.task, { epochs: 50, accumulate: 2, optimisers: adaptive });
    const events = firstValueFrom(run.events.pipe(toArray()));
    run.events.subscribe((e) => e.type === 'step' && e.step === 3 && run.stop());
    expect(await run.done).toMatchObject({ stopped: true, reason: 'stopped', step: 3 });
    expect((await events).slice(-3).map((e) => e.type)).toEqual(['step', 'stopped', 'done']);
    for (const [path, x] of await t.variables()) toBeBitEqual(x, before.variables.get(path)!, path);
  });
});

it('an aborted signal stops it too, before the first step or from a timer while it computes', async () => {
  await using({}, async (t) => {
    const before = await t.variables();
    const summary = await fit(t.adapted, t.task, { epochs: 1, optimisers: adaptive, signal: AbortSignal.abort() }).done;
    expect(summary).toMatchObject({ stopped: true, step: 0, samples: 0, loss: undefined });
    for (const [path, x] of await t.variables()) toBeBitEqual(x, before.get(path)!, path);
    const controller = new AbortController();
    const run = fit(t.adapted, t.task, { epochs: 1000, optimisers: adaptive, signal: controller.signal });
    setTimeout(() => controller.abort(), 100); // the cpu backend never waits: only a yielding loop lets this run
    expect((await run.done).stopped).toBe(true);
  });
});

it('a stop during validation is heard there', async () => {
  await using({
    validate: (_adapted, signal) => {
      held.run!.stop();
      return Promise.resolve(signal.aborted ? undefined : { accuracy: 1 });
    },
  }, async (t) => {
    const run = fit(t.adapted, t.task, { epochs: 3, optimisers: adaptive });
    held.run = run;
    expect(await run.done).toMatchObject({ stopped: true, step: 3 });
  });
});

it('whoever subscribes in the same turn misses nothing; after the end there is only completion', async () => {
  await using({}, async (t) => {
    const run = fit(t.adapted, t.task, { maxSteps: 1, optimisers: adaptive });
    await Promise.resolve();
    const seen: string[] = [];
    run.events.subscribe((e) => seen.push(e.type));
    await run.done;
    expect(seen).toEqual(['start', 'step', 'done']);
    expect(await firstValueFrom(run.events.pipe(toArray()))).toEqual([]);
  });
});

it('goes on when an observer throws or leaves an operator\'s error unhandled, and warns', async () => {
  const warnings: string[] = [];
  const heard = (w: Error) => warnings.push(`${w.name}: ${w.message}`);
  process.on('warning', heard);
  await using({}, async (t) => {
    const run = fit(t.adapted, t.task, { maxSteps: 3, optimisers: adaptive });
    const good: string[] = [];
    run.events.subscribe((e) => {
      if (e.type === 'step') throw new Error(`first bad observer at step ${e.step}`);
    });
    run.events.pipe(map((e) => { throw new Error(`second bad observer at ${e.type}`); })).subscribe();
    run.events.subscribe((e) => good.push(e.type));
    expect((await run.done).step).toBe(3);
    expect(good).toEqual(['start', 'step', 'step', 'step', 'epoch', 'done']);
  });
  await new Promise((done) => setTimeout(done, 20)); // warnings come in a later turn
  process.off('warning', heard);
  expect(warnings.filter((w) => w.includes('first bad observer'))).toHaveLength(3);
  expect(warnings.filter((w) => w.includes('second bad observer at start'))).toHaveLength(1);
  expect(warnings.find((w) => w.includes('first bad observer at step 1'))).toMatch(/^EspalierWarning: an observer of training events threw/);
});

it('tells a failure as an event and rejects, without an unhandled error', async () => {
  await using({}, async (t) => {
    const task = { ...t.task, loss: () => { throw new Error('no such loss'); } };
    const run = fit(t.adapted, task, { epochs: 1, optimisers: adaptive });
    const events = firstValueFrom(run.events.pipe(toArray()));
    await toRefuse(() => run.done, Error, 'no such loss');
    expect((await events).map((e) => e.type)).toEqual(['start', 'failed']);
  });
});

it('leaves no arrays behind', async () => {
  await using({ validate: () => lossOf(() => held.t!)() }, async (t) => {
    held.t = t;
    const options = { maxSteps: 4, optimisers: adaptive, accumulate: 2, best: { metric: 'loss', goal: 'min' } } as const;
    await toLeakNothing(() => fit(t.adapted, t.task, options).done);
    const seen: number[] = [];
    const run = fit(t.adapted, t.task, { maxSteps: 20, optimisers: plain });
    run.events.subscribe((e) => e.type === 'step' && seen.push(tf.memory().numTensors));
    await run.done;
    expect(new Set(seen.slice(1)).size).toBe(1);
  });
});

it('refuses a task whose batches are not as many as it says', async () => {
  await using({}, async (t) => {
    const few = { ...t.task, batchesPerEpoch: 5 };
    await toRefuse(() => fit(t.adapted, few, { epochs: 1, optimisers: adaptive }).done, EspalierError, 'epoch 1', '3 batches', 'batchesPerEpoch is 5');
    const many = { ...t.task, batchesPerEpoch: 2 };
    await toRefuse(() => fit(t.adapted, many, { epochs: 2, optimisers: adaptive }).done, EspalierError, 'more batches', '2');
    const none = { ...t.task, batchesPerEpoch: 0 };
    await toRefuse(() => fit(t.adapted, none, { epochs: 1, optimisers: adaptive }), EspalierError, '0 batches', 'empty');
  });
});

it('refuses metrics that are missing or no numbers', async () => {
  const best = { metric: 'acuracy' };
  await toRefuse(() => trained({ epochs: 1, best }, { validate: () => Promise.resolve({ accuracy: 1, loss: 2 }) }), EspalierError, "'acuracy'", "Did you mean 'accuracy'");
  await toRefuse(() => trained({ epochs: 1 }, { validate: () => Promise.resolve({ accuracy: NaN }) }), EspalierError, 'step 3', "NaN for 'accuracy'");
  await toRefuse(() => trained({ epochs: 1 }, { validate: () => Promise.resolve(undefined) }), EspalierError, 'no metrics');
});

it('refuses options that it does not know, that are wrong, or that miss their other half', async () => {
  await using({}, async ({ adapted, task }) => {
    const refuse = (options: object, ...words: string[]) => toRefuse(() => fit(adapted, task, { epochs: 1, optimisers: adaptive, ...options }), OptionsError, ...words);
    await toLeakNothing(async () => {
      await refuse({ epoch: 3 }, "no option 'epoch'", "'epochs'");
      await refuse({ checkpoint: { directory: 'x', evry: 3 } }, "checkpoint has no option 'evry'", "'every'");
      await refuse({ best: { metric: 'loss', goal: 'least' } }, 'best', "'goal'");
      await refuse({ epochs: 0 }, "'epochs'");
      await refuse({ epochs: undefined }, 'give epochs, maxSteps, or both');
      await refuse({ clip: 0 }, "'clip'");
      await refuse({ resume: true }, 'checkpoint.directory');
      await refuse({ metrics: 'metrics.jsonl' }, "metricsFile('metrics.jsonl')");
      await refuse({ optimisers: { ...adaptive, polcy: adaptive.policy } }, "'polcy'", "'policy'");
    });
  });
});
