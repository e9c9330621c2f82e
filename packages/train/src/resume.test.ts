import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { copyFileSync, mkdirSync, readdirSync } from 'node:fs';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { execPath } from 'node:process';
import { createInterface } from 'node:readline';
import { setImmediate } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { toBeBitEqual, useCpu, useOnnx } from '@espalier/testing';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { EVERY, part, type Stack } from '../fixtures/resumable.ts';
import { latestCheckpoint } from './checkpoint.ts';
import { isCode } from './file-store.ts';
import { TIME_FIELDS } from './metrics.ts';

beforeAll(useCpu);
const made = { directory: '' };
beforeAll(async () => {
  made.directory = await mkdtemp(join(tmpdir(), 'espalier-resume-'));
});
afterAll(() => rm(made.directory, { recursive: true }));

/** The records of a run without what tells time. */
async function records(directory: string): Promise<unknown[]> {
  const lines = (await readFile(join(directory, 'metrics.jsonl'), 'utf8')).trimEnd().split('\n');
  return lines.map((line) => Object.fromEntries(Object.entries(JSON.parse(line)).filter(([key]) => !TIME_FIELDS.includes(key))));
}
type Ended = Awaited<ReturnType<typeof part>>;
function sameEnd(a: Ended, b: Ended): void {
  expect([...a.variables.keys()]).toEqual([...b.variables.keys()]);
  for (const [path, x] of a.variables) toBeBitEqual(x, b.variables.get(path)!, path);
  const { seconds: _s, samplesPerSecond: _p, checkpoint: _c, ...rest } = a.summary;
  expect(b.summary).toMatchObject(rest);
}

// In a recorded run the steps after a stop are recorded anew where the uninterrupted run replays.
it.each<[Stack, number[]]>([['adamW', [3]], ['momentum', [4, 6]]])('on onnx: %s stopped at %j and resumed equals the uninterrupted run bit for bit', async (stack, stops) => {
  await useOnnx();
  try {
    const [one, other] = [join(made.directory, `onnx-${stack}-whole`), join(made.directory, `onnx-${stack}-parts`)];
    const whole = await part({ directory: one, stack });
    expect(whole.summary).toMatchObject({ captured: true, captureRefused: undefined });
    for (const stopAt of stops) await part({ directory: other, stack, stopAt });
    sameEnd(whole, await part({ directory: other, stack }));
    expect(await records(other)).toEqual(await records(one));
  } finally {
    await useCpu();
  }
});

// Four epochs of ceil(4 / 3) = 2 updates: stops in the middle of an epoch, at its end before its evaluation, and again and again.
it.each<[Stack, number[]]>([['adamW', [3]], ['adamW', [4]], ['momentum', [1, 3, 6]], ['momentum', [2, 4, 8]]])('%s stopped at %j and resumed equals the uninterrupted run bit for bit', async (stack, stops) => {
  const [one, other] = [join(made.directory, `${stack}-whole-${stops.join()}`), join(made.directory, `${stack}-parts-${stops.join()}`)];
  const whole = await part({ directory: one, stack });
  for (const stopAt of stops) expect((await part({ directory: other, stack, stopAt })).summary).toMatchObject({ stopped: true, step: stopAt });
  const end = await part({ directory: other, stack });
  expect(end.events[0]).toMatchObject({ type: 'start', step: stops.at(-1) });
  sameEnd(whole, end);
  const expected = await records(one);
  expect(expected).toHaveLength(8 + 4 + 4); // steps, evaluations, epochs
  expect(await records(other)).toEqual(expected);
});

it('a run that has ended resumes to its end: the best variables, nothing trained, nothing written twice', async () => {
  const directory = join(made.directory, 'ended');
  const whole = await part({ directory });
  const before = await records(directory);
  const again = await part({ directory });
  expect(again.events.map((e) => e.type)).toEqual(['start', 'done']);
  sameEnd(whole, again);
  expect(await records(directory)).toEqual(before);
});

it('patience counts across a resume', async () => {
  const [one, other] = [join(made.directory, 'patience-whole'), join(made.directory, 'patience-parts')];
  const options = { stack: 'momentum', patience: 1 } as const;
  const whole = await part({ directory: one, ...options });
  await part({ directory: other, ...options, stopAt: 2 });
  sameEnd(whole, await part({ directory: other, ...options }));
  expect(await records(other)).toEqual(await records(one));
});

/** What a crash at this moment would leave: copied without letting the run go on. What vanishes meanwhile is left out. */
function copyNow(from: string, to: string): void {
  mkdirSync(to, { recursive: true });
  try {
    for (const entry of readdirSync(from, { withFileTypes: true })) {
      const [a, b] = [join(from, entry.name), join(to, entry.name)];
      if (entry.isDirectory()) copyNow(a, b);
      else copyFileSync(a, b);
    }
  } catch (e) {
    if (!isCode(e, 'ENOENT')) throw e;
  }
}

it('whatever a crash leaves behind, a whole checkpoint at most N steps old is in it and leads to the same end', async () => {
  const directory = join(made.directory, 'moving');
  const progress = { step: 0, over: false };
  const ending = part({ directory, onEvent: (e) => (progress.step = e.step) }).finally(() => (progress.over = true));
  const copies: { at: number; directory: string }[] = [];
  while (!progress.over) {
    const copy = join(made.directory, `moving-${copies.length}`);
    copies.push({ at: progress.step, directory: copy });
    copyNow(directory, copy);
    await setImmediate();
  }
  const whole = await ending;
  const unfinished = copies.filter((c) => readdirSync(c.directory).includes('checkpoints') && readdirSync(join(c.directory, 'checkpoints')).some((name) => name.startsWith('tmp-')));
  expect(unfinished.length).toBeGreaterThan(3);
  const found = new Map<string, string>();
  for (const { at, directory: copy } of copies) {
    const { checkpoint } = await latestCheckpoint(join(copy, 'checkpoints'));
    const { step = 0, epoch = 0 } = checkpoint?.state ?? {};
    expect(at - step).toBeLessThanOrEqual(EVERY);
    found.set(`${step} ${epoch} ${unfinished.some((c) => c.directory === copy)}`, copy);
  }
  expect(found.size).toBeGreaterThan(3);
  const expected = await records(directory);
  for (const copy of found.values()) {
    sameEnd(whole, await part({ directory: copy }));
    expect(await records(copy)).toEqual(expected);
  }
});

it('a killed process loses at most N steps, and its run goes on to the same end', async () => {
  const [one, other] = [join(made.directory, 'unkilled'), join(made.directory, 'killed')];
  const epochs = 6;
  const killed = { step: 0 };
  for (const after of [3, 6]) {
    const process = spawn(execPath, [fileURLToPath(new URL('../fixtures/child.mjs', import.meta.url)), other, String(epochs)], { stdio: ['ignore', 'pipe', 'inherit'] });
    const closed = once(process, 'close');
    for await (const line of createInterface({ input: process.stdout })) {
      killed.step = Number(line);
      if (killed.step >= after) process.kill('SIGKILL');
    }
    const [code, signal] = await closed;
    expect([code, signal]).toEqual([null, 'SIGKILL']);
    const { checkpoint } = await latestCheckpoint(join(other, 'checkpoints'));
    expect(checkpoint!.state.step).toBeGreaterThanOrEqual(killed.step - EVERY);
  }
  const end = await part({ directory: other, epochs });
  expect(end.events.filter((e) => e.type === 'step').length).toBeGreaterThan(0);
  sameEnd(await part({ directory: one, epochs }), end);
  expect(await records(other)).toEqual(await records(one));
});
