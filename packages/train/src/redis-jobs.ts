import { EspalierError } from '@espalier/core';
import { setTimeout } from 'node:timers/promises';
import { z } from 'zod';
import { isLost, reasonOf, type Job, type JobOptions } from './jobs.ts';

export interface RedisJobOptions extends JobOptions {
  readonly url: string; // redis://HOST:PORT
  readonly name: string; // of the queue: who runs the same name shares the jobs
  /** Milliseconds after which a worker that is not heard of has lost its job; default 30 000. */
  readonly patience?: number;
}

const JobData = z.object({ args: z.array(z.string()) });

/**
 * `runJobs` with the jobs in Redis, by BullMQ: everyone who runs the same jobs under one name, on whatever machine, works them off
 * together, each once. A worker that is gone loses its job to another; a connection that is gone is made again, and `start`
 * must refuse a job that still runs elsewhere (`holdDirectory`). Ends when all jobs have, whoever did them.
 * @throws EspalierError naming the jobs that did not finish; when BullMQ is not installed, or Redis does not answer.
 */
export async function runJobsOnRedis(jobs: readonly Job[], { url, name, workers, attempts = 3, patience = 30_000, start, onEvent = () => {}, signal }: RedisJobOptions): Promise<void> {
  const { Queue, Worker, UnrecoverableError, Redis } = await loaded();
  const connect = async () => {
    const connection = new Redis(url, { maxRetriesPerRequest: null, lazyConnect: true, retryStrategy: (times) => Math.min(2000, 100 * times) });
    connection.on('error', () => {}); // it is made again; whether it answers at all is asked below
    try {
      await Promise.race([connection.connect(), setTimeout(5000, undefined, { ref: false }).then(() => Promise.reject(new Error('no answer within 5 s')))]);
    } catch (e) {
      connection.disconnect();
      throw new EspalierError(`--queue ${url}: Redis does not answer (${e instanceof Error ? e.message : String(e)})`);
    }
    return connection;
  };
  const [own, working] = [await connect(), await connect()];
  const queue = new Queue(name, { connection: own });
  const running = new Set<() => void>();
  const worker = new Worker(
    name,
    async (task) => {
      const job: Job = { id: String(task.id), args: JobData.parse(task.data).args };
      const attempt = task.attemptsMade + 1;
      const child = start(job, attempt);
      const stop = () => child.stop();
      running.add(stop);
      onEvent({ type: 'started', id: job.id, attempt, pid: child.pid });
      const end = await child.ended.finally(() => running.delete(stop));
      if (end.code === 0) return onEvent({ type: 'finished', id: job.id, attempt });
      const reason = reasonOf(end);
      // A directory that another worker still holds is waited for.
      const again = (isLost(end) || /is being worked on by/.test(reason)) && attempt < attempts;
      onEvent({ type: 'lost', id: job.id, attempt, reason, again });
      throw again ? new Error(reason) : new UnrecoverableError(reason);
    },
    { connection: working, concurrency: workers, lockDuration: patience, stalledInterval: patience, maxStalledCount: attempts },
  );
  worker.on('error', () => {}); // of the connection
  try {
    for (const { id, args } of jobs) {
      const before = await queue.getJob(id);
      if (before && ['completed', 'failed'].includes(await before.getState())) await before.remove(); // its files say that there is something left to do
      await queue.add('job', { args: [...args] }, { jobId: id, attempts, backoff: { type: 'fixed', delay: 1000 } });
    }
    const failed = await settled(jobs, queue, signal);
    if (failed.length && !signal?.aborted) throw new EspalierError(`${failed.length} of ${jobs.length} jobs did not finish:\n${failed.join('\n')}`);
  } finally {
    if (signal?.aborted) for (const stop of running) stop();
    await worker.close();
    await queue.close();
    own.disconnect();
    working.disconnect();
  }
}

interface Asked {
  getJob(id: string): Promise<{ getState(): Promise<string>; failedReason: string } | undefined>;
}

/** Asks until every job has ended; those that failed, with their reasons. */
async function settled(jobs: readonly Job[], queue: Asked, signal: AbortSignal | undefined): Promise<string[]> {
  const open = new Set(jobs.map((j) => j.id));
  const failed: string[] = [];
  while (open.size && !signal?.aborted) {
    for (const id of open) {
      const job = await queue.getJob(id);
      const state = await job?.getState();
      if (state === 'completed') open.delete(id);
      if (state !== 'failed' && job) continue;
      failed.push(`${id}: ${job?.failedReason ?? 'it is no longer in the queue'}`);
      open.delete(id);
    }
    await setTimeout(200);
  }
  return failed;
}

/** BullMQ and its connection to Redis, which are installed by those who want them. */
async function loaded() {
  try {
    const [{ Queue, Worker, UnrecoverableError }, { Redis }] = await Promise.all([import('bullmq'), import('ioredis')]);
    return { Queue, Worker, UnrecoverableError, Redis };
  } catch (e) {
    throw new EspalierError('a queue in Redis needs the packages bullmq and ioredis: npm install bullmq ioredis', { cause: e });
  }
}
