import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { tinyShards } from '../fixtures/shards.ts';
import { capturedConsole } from './captured-console.ts';
import { runCommand } from './program.ts';
import { runShards } from './shards.ts';

const { at, shard, options, hasCheckpoint, result, remove } = tinyShards();
afterAll(remove);

beforeAll(() => runShards(options('whole', { workers: 2 })), 120_000);

it('trains every shard on its own part', () => {
  for (const i of [1, 2]) expect(JSON.parse(readFileSync(join(shard('whole', i), 'manifest.json'), 'utf8')).task.shard).toEqual({ index: i - 1, of: 2, by: 'random', seed: 0, samples: 16 });
  expect(result('whole', 1).equals(result('whole', 2))).toBe(false);
});

it('a worker killed in the middle is begun again from its checkpoint, and changes no bit of the result', async () => {
  const lost: string[] = [];
  await runShards(options('killed'), {
    onEvent: (event) => {
      if (event.type === 'lost') lost.push(`${event.id} ${event.reason} ${event.again}`);
      if (event.type !== 'started' || event.attempt > 1 || !event.id.startsWith('shard-1')) return;
      void (async () => {
        while (!hasCheckpoint(shard('killed', 1))) await setTimeout(5);
        process.kill(event.pid!, 'SIGKILL');
      })();
    },
  });
  expect(lost).toEqual(['shard-1-of-2 killed by SIGKILL true']);
  for (const i of [1, 2]) expect(result('killed', i).equals(result('whole', i)), `shard ${i}`).toBe(true);
}, 120_000);

it('trains nothing twice, refuses other settings in the same place, and says which shard does not finish', async () => {
  const started: string[] = [];
  await runShards(options('whole'), { onEvent: (e) => e.type === 'started' && started.push(e.id) });
  expect(started).toEqual([]);
  const to = capturedConsole();
  const code = await runCommand(['train-shards', '--shards', '3', '--size', 'tiny', '--out', at('whole')], to);
  expect(code).toBe(2);
  expect(to.printed.err).toContain('holds shards of other settings');
  expect(to.printed.err).toContain('shards is 3 and was 2');
  await expect(runShards(options('no', { plugin: ['tangent:{"lastk":1}'] }))).rejects.toThrow(/2 of 2 jobs did not finish:\nshard-1-of-2: espalier: 'tangent' has no option 'lastk'/);
}, 120_000);
