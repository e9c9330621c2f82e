import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { appendFileSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { EspalierError } from '@espalier/core';
import { toRefuse } from '@espalier/testing';
import { Redis } from 'ioredis';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { nodeProcess, type Job, type JobEvent } from './jobs.ts';
import { runJobsOnRedis } from './redis-jobs.ts';

const there = spawnSync('redis-server', ['--version']).status === 0;
const folder = mkdtempSync(join(tmpdir(), 'espalier-redis-'));
const at = (name: string) => join(folder, name);
const PATIENCE = 1500;

/** Appends what it does to a file; with `hold`, waits in the middle until the file of that name is there. */
const SCRIPT = `
import { appendFileSync, existsSync } from 'node:fs';
const [id, log, hold] = process.argv.slice(2);
appendFileSync(log, id + ' begins\\n');
if (hold) while (!existsSync(hold)) await new Promise((r) => setTimeout(r, 10));
appendFileSync(log, id + ' ends\\n');
`;
const script = at('job.mjs');
const jobs = (log: string, ids: readonly string[], hold?: string): Job[] => ids.map((id) => ({ id, args: [script, id, at(log), ...(hold === undefined ? [] : [at(hold)])] }));
const start = ({ args: [module, ...args] }: Job) => nodeProcess(module!, args);
const linesOf = (log: string) => (existsSync(at(log)) ? readFileSync(at(log), 'utf8').trim().split('\n') : []);
const until = async (f: () => boolean) => {
  for (let i = 0; i < 2000 && !f(); i++) await setTimeout(10);
  expect(f()).toBe(true);
};

it('a Redis that does not answer is said to be so', async () => {
  await toRefuse(() => runJobsOnRedis([], { url: 'redis://127.0.0.1:1', name: 'x', workers: 1, start }), EspalierError, '--queue redis://127.0.0.1:1', 'Redis does not answer');
}, 20_000);

describe.skipIf(!there)(there ? 'jobs in Redis' : 'jobs in Redis: skipped, redis-server is not installed (apt-get install redis-server)', () => {
  let server: ChildProcess;
  let url: string;
  let client: Redis;
  beforeAll(async () => {
    writeFileSync(script, SCRIPT);
    const port = await freePort();
    url = `redis://127.0.0.1:${port}`;
    server = spawn('redis-server', ['--port', String(port), '--bind', '127.0.0.1', '--save', '', '--dir', folder], { stdio: 'ignore' });
    client = new Redis(url, { maxRetriesPerRequest: null });
    client.on('error', () => {});
    await client.ping();
  });
  afterAll(async () => {
    client.disconnect();
    const closed = new Promise((resolve) => server.once('close', resolve));
    server.kill();
    await closed;
    rmSync(folder, { recursive: true });
  });

  it('are each done once, by all who run the queue of that name', async () => {
    const ids = ['a', 'b', 'c', 'd', 'e', 'f'];
    const events: JobEvent[] = [];
    const side = () => runJobsOnRedis(jobs('once', ids), { url, name: 'once', workers: 2, start, onEvent: (e) => events.push(e) });
    await Promise.all([side(), side()]);
    expect(linesOf('once').filter((l) => l.endsWith('ends')).sort()).toEqual(ids.map((id) => `${id} ends`));
    expect(events.filter((e) => e.type === 'started')).toHaveLength(ids.length);
  }, 60_000);

  it('go on after a process of theirs was killed, and after every connection was cut', async () => {
    const events: JobEvent[] = [];
    const done = runJobsOnRedis(jobs('cut', ['a', 'b'], 'go'), { url, name: 'cut', workers: 1, start, onEvent: (e) => events.push(e) });
    await until(() => linesOf('cut').length === 1);
    const first = events.find((e) => e.type === 'started')!;
    process.kill(first.type === 'started' ? first.pid! : 0, 'SIGKILL');
    await until(() => linesOf('cut').length === 2);
    await client.client('KILL', 'TYPE', 'normal', 'SKIPME', 'yes');
    await setTimeout(200);
    appendFileSync(at('go'), '');
    await done;
    expect(linesOf('cut').filter((l) => l.endsWith('ends')).sort()).toEqual(['a ends', 'b ends']);
    expect(events.filter((e) => e.type === 'lost')).toMatchObject([{ id: first.id, attempt: 1, reason: 'killed by SIGKILL', again: true }]);
  }, 60_000);

  it('of a worker that was killed are done by another', async () => {
    const own = jobs('taken', ['a'], 'later');
    writeFileSync(at('jobs.json'), JSON.stringify(own));
    const worker = spawn(process.execPath, [fileURLToPath(new URL('../fixtures/redis-worker.mjs', import.meta.url)), url, 'taken', String(PATIENCE), at('jobs.json')], { stdio: 'ignore' });
    const closed = new Promise((resolve) => worker.once('close', resolve));
    await until(() => linesOf('taken').length === 1);
    worker.kill('SIGKILL');
    await closed;
    appendFileSync(at('later'), '');
    const started: string[] = [];
    await runJobsOnRedis(own, { url, name: 'taken', workers: 1, patience: PATIENCE, start, onEvent: (e) => e.type === 'started' && started.push(e.id) });
    expect(started).toEqual(['a']);
    expect(linesOf('taken').at(-1)).toBe('a ends');
  }, 60_000);

  it('that end with an error of their own are not tried again, and are named', async () => {
    writeFileSync(at('fails.mjs'), "console.error('espalier: it cannot'); process.exitCode = 1;");
    const events: JobEvent[] = [];
    await toRefuse(
      () => runJobsOnRedis([{ id: 'x', args: [at('fails.mjs')] }, ...jobs('rest', ['y'])], { url, name: 'fails', workers: 1, start, onEvent: (e) => events.push(e) }),
      EspalierError, '1 of 2 jobs did not finish', 'x: espalier: it cannot',
    );
    expect(events.filter((e) => e.id === 'x').map((e) => e.type)).toEqual(['started', 'lost']);
    // Begun again by hand, it runs again: what is finished is told by files, not by the queue.
    writeFileSync(at('fails.mjs'), '');
    await runJobsOnRedis([{ id: 'x', args: [at('fails.mjs')] }], { url, name: 'fails', workers: 1, start });
  }, 60_000);
});

function freePort(): Promise<number> {
  return new Promise((resolve) => {
    const probe = createServer().listen(0, '127.0.0.1', () => {
      const address = probe.address();
      probe.close(() => resolve(typeof address === 'object' && address ? address.port : 0));
    });
  });
}
