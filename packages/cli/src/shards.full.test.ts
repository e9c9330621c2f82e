import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { setTimeout } from 'node:timers/promises';
import { afterAll, expect, it } from 'vitest';
import { tinyShards } from '../fixtures/shards.ts';
import { runShards } from './shards.ts';

const main = fileURLToPath(new URL('../dist/main.js', import.meta.url));
const { at, shard, options, hasCheckpoint, result, remove } = tinyShards();
afterAll(remove);

it('killed as a whole, train-shards leaves no process behind, and the next call finishes what is left', async () => {
  await runShards(options('whole', { workers: 2 }));
  const args = ['train-shards', '--shards', '2', '--workers', '1', '--size', 'tiny', '--data', 'shapes:30', '--features', 'components', '--plugin', 'tangent:{"lastK":1}', '--loss', 'square', '--limit-train', '32', '--limit-eval', '8',
    '--epochs', '2', '--batch-size', '4', '--checkpoint-every', '2', '--backend', 'cpu', '--out', at('orphans'), '--json'];
  const parent = spawn(process.execPath, [main, ...args], { stdio: ['ignore', 'pipe', 'ignore'] });
  const closed = new Promise((resolve) => parent.once('close', resolve));
  let child = 0;
  for await (const line of createInterface({ input: parent.stdout })) {
    child = Number(Object(JSON.parse(line)).pid);
    break;
  }
  while (!hasCheckpoint(shard('orphans', 1))) await setTimeout(5);
  parent.kill('SIGKILL');
  await closed;
  for (let i = 0; i < 400 && alive(child); i++) await setTimeout(25);
  expect(alive(child)).toBe(false);
  const started: string[] = [];
  await runShards(options('orphans'), { onEvent: (e) => e.type === 'started' && started.push(e.id) });
  expect(started).toEqual(['shard-1-of-2', 'shard-2-of-2']);
  for (const i of [1, 2]) expect(result('orphans', i).equals(result('whole', i)), `shard ${i}`).toBe(true);
}, 120_000);

it('a private training that is killed counts the steps it ends with, and draws noise anew', async () => {
  const privacy = { epsilon: 4, delta: 1e-3, clip: 10 };
  const statements: Record<string, unknown>[] = [];
  for (const out of ['private', 'private-killed']) {
    const lost: string[] = [];
    await runShards(options(out, { privacy, optimiser: 'adam', checkpointEvery: 1 }), {
      onEvent: (event) => {
        if (event.type === 'lost') lost.push(event.reason);
        if (out === 'private' || event.type !== 'started' || event.attempt > 1 || !event.id.startsWith('shard-1')) return;
        void (async () => {
          while (!hasCheckpoint(shard(out, 1))) await setTimeout(5);
          process.kill(event.pid!, 'SIGKILL');
        })();
      },
    });
    expect(lost).toEqual(out === 'private' ? [] : ['killed by SIGKILL']);
    statements.push(Object(JSON.parse(readFileSync(join(shard(out, 1), 'manifest.json'), 'utf8'))).task.privacy);
  }
  expect(statements[0]).toMatchObject({ steps: 8, samples: 16, rate: 0.25 });
  expect(Number(statements[0]!['epsilon'])).toBeLessThanOrEqual(4);
  // The same steps at the same noise: lost ones are not in what was published, and cost nothing.
  expect(statements[1]).toEqual(statements[0]);
  for (const i of [1, 2]) expect(result('private', i).equals(result('private-killed', i)), `noise of shard ${i}`).toBe(false);
}, 180_000);

function alive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}
