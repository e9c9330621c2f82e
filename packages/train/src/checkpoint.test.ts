import { cp, mkdir, mkdtemp, readdir, readFile, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { CheckpointError, load, readManifest } from '@espalier/core';
import { adapter, scaler, toBeBitEqual, toLeakNothing, toRefuse, useCpu } from '@espalier/testing';
import { firstValueFrom, toArray } from 'rxjs';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { offset, tinyTraining } from '../fixtures/tiny-task.ts';
import { latestCheckpoint, readCheckpoint } from './checkpoint.ts';
import { fileStore } from './file-store.ts';
import { fit } from './fit.ts';
import { adamW, sgd } from './methods.ts';
import type { FitOptions } from './options.ts';

beforeAll(useCpu);
const made = { directory: '' };
beforeAll(async () => {
  made.directory = await mkdtemp(join(tmpdir(), 'espalier-checkpoint-'));
});
afterAll(() => rm(made.directory, { recursive: true }));
const fresh = (name: string) => join(made.directory, name);

const optimisers = { default: { method: adamW(), rate: 1e-2 }, policy: { method: sgd({ momentum: 0.9 }), rate: 1e-2 } };

async function trained(options: Partial<FitOptions>, accuracies: readonly number[] = []) {
  const left = [...accuracies];
  const t = tinyTraining(accuracies.length ? { validate: () => Promise.resolve({ accuracy: left.shift()! }) } : {});
  const run = fit(t.adapted, t.task, { optimisers, ...options });
  const events = firstValueFrom(run.events.pipe(toArray()));
  try {
    return { summary: await run.done, events: await events, variables: await t.variables() };
  } finally {
    t.dispose();
  }
}
const steps = async (directory: string) => (await readdir(directory)).sort();

it('writes a directory that core can load, every N steps and at the end, and keeps the last two', async () => {
  const directory = fresh('periodic');
  const { summary, events, variables } = await trained({ maxSteps: 7, checkpoint: { directory, every: 2, model: { config: { width: 16 }, task: { answers: 3 } } } });
  expect(events.flatMap((e) => (e.type === 'checkpoint' ? [e.step] : []))).toEqual([2, 4, 6, 7]);
  expect(await steps(directory)).toEqual(['step-00000006', 'step-00000007']);
  expect(summary.checkpoint).toBe(join(directory, 'step-00000007'));
  expect(await steps(summary.checkpoint!)).toEqual(['adapter.safetensors', 'manifest.json', 'offset.safetensors', 'scaler.safetensors', 'trainer.json', 'trainer.safetensors']);
  const store = fileStore(summary.checkpoint!);
  expect(await readManifest(store)).toMatchObject({ base: { model: 'tiny-one-stream', config: { width: 16 } }, task: { answers: 3 } });
  const t = tinyTraining();
  const factories = new Map([adapter, scaler, offset].map((f) => [f.method, f]));
  const loaded = await load(t.adapted.model, store, { resolve: (method) => factories.get(method)! });
  for (const p of loaded.trainable) toBeBitEqual(p.variable.dataSync(), variables.get(p.path)!, p.path);
  loaded.dispose();
  t.dispose();
});

it('keeps the best next to the last, and writes it when it is found', async () => {
  const directory = fresh('best');
  const { summary } = await trained({ epochs: 4, best: { metric: 'accuracy' }, checkpoint: { directory, every: 1, keep: 1 } }, [0.2, 0.9, 0.3, 0.4]);
  expect(summary.best).toMatchObject({ step: 6, value: 0.9 });
  expect(await steps(directory)).toEqual(['step-00000006', 'step-00000012']);
  const rare = fresh('rare');
  const { events } = await trained({ epochs: 4, best: { metric: 'accuracy' }, checkpoint: { directory: rare } }, [0.2, 0.9, 0.3, 0.4]);
  expect(events.flatMap((e) => (e.type === 'checkpoint' ? [e.step] : []))).toEqual([3, 6, 12]);
});

it('passes over what is not whole, and says why', async () => {
  const directory = fresh('partial');
  await trained({ maxSteps: 6, checkpoint: { directory, every: 2, keep: 3 } });
  const from = (step: number) => join(directory, `step-0000000${step}`);
  await cp(from(6), from(8), { recursive: true });
  await rm(join(from(8), 'trainer.json'));
  await cp(from(6), from(7), { recursive: true });
  await truncate(join(from(7), 'adapter.safetensors'), 100);
  await rm(join(from(6), 'offset.safetensors'));
  await mkdir(join(directory, 'step-00000009'));
  await mkdir(join(directory, 'notes'));
  const { checkpoint, ignored } = await latestCheckpoint(directory);
  expect(checkpoint!.directory).toBe(from(4));
  expect(checkpoint!.state).toMatchObject({ step: 4, epoch: 2, batch: 1, samples: 16 });
  expect(ignored).toEqual([
    `${from(9)}: trainer.json is missing`,
    `${from(8)}: trainer.json is missing`,
    expect.stringMatching(/step-00000007: adapter\.safetensors has 100 bytes of \d+/),
    `${from(6)}: offset.safetensors is missing`,
  ]);
  await writeFile(join(from(4), 'trainer.json'), '{"format": 2}');
  expect((await latestCheckpoint(directory)).checkpoint!.directory).toBe(from(2));
  await writeFile(join(from(2), 'trainer.json'), '{"format":');
  const none = await latestCheckpoint(directory);
  expect(none.checkpoint).toBeUndefined();
  expect(none.ignored.at(-1)).toContain('not JSON');
  expect(await latestCheckpoint(fresh('nowhere'))).toEqual({ checkpoint: undefined, ignored: [] });
});

it('overwrites a checkpoint that is not whole when it comes to its step, and removes what a dead process left', async () => {
  const directory = fresh('again');
  await trained({ maxSteps: 6, checkpoint: { directory, every: 2 } });
  const last = join(directory, 'step-00000006');
  const whole = await readFile(join(last, 'adapter.safetensors'));
  await truncate(join(last, 'adapter.safetensors'), 10);
  await mkdir(join(directory, 'tmp-99-6'));
  const { events } = await trained({ maxSteps: 6, resume: true, checkpoint: { directory, every: 2 } });
  expect(events[0]).toMatchObject({ type: 'start', step: 4, resumed: join(directory, 'step-00000004'), ignored: [`${last}: adapter.safetensors has 10 bytes of ${whole.length}`] });
  expect((await readFile(join(last, 'adapter.safetensors'))).equals(whole)).toBe(true);
  expect(await steps(directory)).toEqual(['step-00000004', 'step-00000006']);
});

it('refuses to begin anew where a run has its checkpoints', async () => {
  const directory = fresh('taken');
  await trained({ maxSteps: 1, checkpoint: { directory } });
  await toRefuse(() => trained({ maxSteps: 1, checkpoint: { directory } }), CheckpointError, directory, 'Resume it');
  expect(await steps(directory)).toEqual(['step-00000001']);
});

it('refuses to resume with another configuration, naming what differs and the remedy', async () => {
  const directory = fresh('other');
  const base: Partial<FitOptions> = { maxSteps: 2, checkpoint: { directory }, configuration: { data: { name: 'shapes', batchSize: 4 } } };
  await trained(base);
  const resumed = (change: Partial<FitOptions>) => () => trained({ ...base, resume: true, ...change });
  const message = await toRefuse(
    resumed({ seed: 3, accumulate: 2, configuration: { data: { name: 'shapes', batchSize: 8 } }, optimisers: { ...optimisers, default: { method: adamW({ weightDecay: 0.5 }), rate: 0.02 } } }),
    CheckpointError,
    'step-00000002', 'seed: 0 in the checkpoint, 3 now', 'accumulate: 1 in the checkpoint, 2 now', 'task.data.batchSize: 4 in the checkpoint, 8 now',
    'optimisers.default.rate: 0.01 in the checkpoint, 0.02 now', 'weightDecay: 0.01 in the checkpoint, 0.5 now', 'Resume with the configuration of the checkpoint',
  );
  expect(message).not.toContain('data.name');
  await toRefuse(resumed({ best: { metric: 'accuracy' } }), Error, 'validate');
  await toRefuse(resumed({ epochs: 5 }), CheckpointError, 'epochs: not set in the checkpoint, 5 now');
  expect((await resumed({ recompute: true })()).summary.step).toBe(2); // that changes no number
});

it('refuses to resume on another base or with other plugins', async () => {
  const directory = fresh('base');
  await trained({ maxSteps: 1, checkpoint: { directory } });
  const t = tinyTraining();
  const without = t.adapted.without('scaler');
  await toLeakNothing(async () => {
    await toRefuse(() => fit(without, t.task, { optimisers, maxSteps: 1, resume: true, checkpoint: { directory } }).done, CheckpointError, 'plugins.1.instance');
    await toRefuse(() => readCheckpoint(join(directory, 'step-00000001'), without), CheckpointError, 'step-00000001', 'adapter, offset, scaler', 'adapter, offset');
    const other = { config: null, fingerprint: 'abc' };
    await toRefuse(() => fit(t.adapted, t.task, { optimisers, maxSteps: 1, resume: true, checkpoint: { directory, model: other } }).done, CheckpointError, 'base:', '"abc" now');
  });
  t.dispose();
});
