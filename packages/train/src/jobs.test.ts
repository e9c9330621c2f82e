import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { EspalierError } from '@espalier/core';
import { toRefuse } from '@espalier/testing';
import { afterAll, describe, expect, it } from 'vitest';
import { holdDirectory } from './hold.ts';
import { nodeProcess, runJobs, type Job, type JobEnd, type JobEvent, type RunningJob } from './jobs.ts';

const folder = mkdtempSync(join(tmpdir(), 'espalier-jobs-'));
afterAll(() => rmSync(folder, { recursive: true }));
const jobs = (...ids: string[]): Job[] => ids.map((id) => ({ id, args: [id] }));
const end = (code: number | null, complaint = ''): JobEnd => ({ code, signal: code === null ? 'SIGKILL' : null, complaint });
const over = (end: JobEnd): RunningJob => ({ pid: 1, ended: Promise.resolve(end), stop: () => {} });

describe('jobs', () => {
  it('run some at a time; one whose process is lost is begun again, at most so often', async () => {
    const events: JobEvent[] = [];
    let [running, most] = [0, 0];
    const start = (job: Job, attempt: number): RunningJob => {
      most = Math.max(most, ++running);
      const result = job.id === 'b' && attempt < 3 ? end(null) : end(0);
      return { pid: attempt, stop: () => {}, ended: new Promise((resolve) => setImmediate(() => resolve((running--, result)))) };
    };
    await runJobs(jobs('a', 'b', 'c', 'd'), { workers: 2, start, onEvent: (e) => events.push(e) });
    expect(most).toBe(2);
    expect(events.filter((e) => e.type === 'finished').map((e) => e.id).sort()).toEqual(['a', 'b', 'c', 'd']);
    expect(events.filter((e) => e.id === 'b').map((e) => `${e.type} ${e.attempt}`)).toEqual(['started 1', 'lost 1', 'started 2', 'lost 2', 'started 3', 'finished 3']);
  });

  it('are all tried; what did not finish is named with its reason, and an error of its own is not tried again', async () => {
    const started: string[] = [];
    const start = (job: Job) => (started.push(job.id), over(job.id === 'a' ? end(1, 'espalier: no data') : job.id === 'b' ? end(null) : end(0)));
    const message = await toRefuse(() => runJobs(jobs('a', 'b', 'c'), { workers: 1, attempts: 2, start }), EspalierError, '2 of 3 jobs did not finish', 'a: espalier: no data', 'b: killed by SIGKILL');
    expect(message).not.toContain('c:');
    expect(started).toEqual(['a', 'b', 'b', 'c']);
  });

  it('stop when they are asked to', async () => {
    const stopping = new AbortController();
    const started: string[] = [];
    const start = (job: Job): RunningJob => {
      started.push(job.id);
      let stop = () => {};
      const ended = new Promise<JobEnd>((resolve) => (stop = () => resolve(end(130))));
      setImmediate(() => stopping.abort());
      return { pid: 1, ended, stop: () => stop() };
    };
    await runJobs(jobs('a', 'b'), { workers: 1, start, signal: stopping.signal });
    expect(started).toEqual(['a']);
  });

  it('say what their process said last', async () => {
    const script = join(folder, 'fails.mjs');
    writeFileSync(script, "console.error('a warning'); console.error('espalier: it cannot'); process.exitCode = 1;");
    expect(await nodeProcess(script, []).ended).toEqual({ code: 1, signal: null, complaint: 'espalier: it cannot' });
    const kill = nodeProcess(join(folder, 'waits.mjs'), []);
    expect((await kill.ended).code).toBe(1); // no such file
  });
});

describe('a directory that is held', () => {
  it('is refused to others until it is let go', async () => {
    const at = join(folder, 'held');
    const letGo = await holdDirectory(at);
    expect(JSON.parse(readFileSync(join(at, '.running'), 'utf8'))).toMatchObject({ pid: process.pid });
    writeFileSync(join(at, '.running'), JSON.stringify({ ...JSON.parse(readFileSync(join(at, '.running'), 'utf8')), pid: process.ppid }));
    await toRefuse(() => holdDirectory(at), EspalierError, `is being worked on by process ${process.ppid} here`);
    await letGo();
    await (await holdDirectory(at))();
  });

  it('is taken over from a process that is gone, here or silent elsewhere', async () => {
    const at = join(folder, 'left');
    const gone = nodeProcess(join(folder, 'fails.mjs'), []);
    await gone.ended;
    await (await holdDirectory(at))();
    writeFileSync(join(at, '.running'), JSON.stringify({ host: (await import('node:os')).hostname(), pid: gone.pid }));
    await (await holdDirectory(at))();
    writeFileSync(join(at, '.running'), JSON.stringify({ host: 'elsewhere', pid: 7 }));
    await toRefuse(() => holdDirectory(at), EspalierError, 'process 7 on elsewhere');
    const { utimesSync } = await import('node:fs');
    utimesSync(join(at, '.running'), new Date(0), new Date(0));
    await (await holdDirectory(at))();
  });
});
