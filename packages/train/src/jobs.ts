import { spawn } from 'node:child_process';
import { EspalierError } from '@espalier/core';

/** Work that may be begun again at any time and goes on from where it was: a command line whose results lie in files. */
export interface Job {
  readonly id: string; // a file name's letters; one job of a queue has it
  readonly args: readonly string[];
}

/** How a process came to its end. */
export interface JobEnd {
  readonly code: number | null; // null: killed
  readonly signal: string | null;
  readonly complaint: string; // what it printed to say why
}

export interface RunningJob {
  readonly pid: number | undefined;
  readonly ended: Promise<JobEnd>;
  stop(): void; // as Ctrl-C
}

export type JobEvent =
  | { readonly type: 'started'; readonly id: string; readonly attempt: number; readonly pid: number | undefined }
  | { readonly type: 'finished'; readonly id: string; readonly attempt: number }
  | { readonly type: 'lost'; readonly id: string; readonly attempt: number; readonly reason: string; readonly again: boolean };

export interface JobOptions {
  readonly workers: number; // jobs at a time
  readonly attempts?: number; // of a job whose process is lost; default 3
  readonly start: (job: Job, attempt: number) => RunningJob;
  readonly onEvent?: (event: JobEvent) => void;
  readonly signal?: AbortSignal; // stops what runs and starts nothing more
}

/**
 * Runs jobs in processes, some at a time. A process that is lost (killed, out of memory) is started again, and its job goes on from
 * its own files; one that ends with an error of its own is not, for it would end so again. Every job has been tried before this
 * throws. @throws EspalierError naming the jobs that did not finish, and why.
 */
export async function runJobs(jobs: readonly Job[], { workers, attempts = 3, start, onEvent = () => {}, signal }: JobOptions): Promise<void> {
  const waiting = jobs.map((job) => ({ job, attempt: 1 }));
  const failed: string[] = [];
  const worker = async () => {
    for (let next = waiting.shift(); next && !signal?.aborted; next = waiting.shift()) {
      const { job, attempt } = next;
      const running = start(job, attempt);
      const stop = () => running.stop();
      signal?.addEventListener('abort', stop);
      onEvent({ type: 'started', id: job.id, attempt, pid: running.pid });
      const end = await running.ended.finally(() => signal?.removeEventListener('abort', stop));
      if (end.code === 0) onEvent({ type: 'finished', id: job.id, attempt });
      else {
        const again = isLost(end) && attempt < attempts && !signal?.aborted;
        const reason = reasonOf(end);
        onEvent({ type: 'lost', id: job.id, attempt, reason, again });
        if (again) waiting.unshift({ job, attempt: attempt + 1 });
        else failed.push(`${job.id}: ${reason}`);
      }
    }
  };
  await Promise.all(Array.from({ length: Math.min(workers, jobs.length) }, worker));
  if (failed.length && !signal?.aborted) throw new EspalierError(`${failed.length} of ${jobs.length} jobs did not finish:\n${failed.join('\n')}`);
}

/** Whether a process ended without saying why: it was killed, or its runtime broke. */
export const isLost = ({ code }: JobEnd): boolean => code === null || ![0, 1, 2, 130].includes(code);

export const reasonOf = ({ code, signal, complaint }: JobEnd): string => (code === null ? `killed by ${signal}` : complaint || `it ended with code ${code}`);

/** A module run by Node in a process of its own, which ends when this one does: it is told by a channel that closes (`endWithParent`). */
export function nodeProcess(module: string, args: readonly string[]): RunningJob {
  const child = spawn(process.execPath, [module, ...args], { stdio: ['ignore', 'ignore', 'pipe', 'ipc'] });
  let complaint = '';
  child.stderr?.on('data', (chunk: Buffer) => (complaint = `${complaint}${chunk.toString()}`.slice(-2000)));
  const ended = new Promise<JobEnd>((resolve) => {
    child.once('error', (e) => resolve({ code: 1, signal: null, complaint: e.message }));
    child.once('close', (code, signal) => resolve({ code, signal, complaint: lastWords(complaint) }));
  });
  return { pid: child.pid, ended, stop: () => void child.kill('SIGINT') };
}

/** The lines from the last that names the program; warnings before it are no reason. */
function lastWords(text: string): string {
  const lines = text.trim().split('\n');
  const from = lines.findLastIndex((line) => line.startsWith('espalier:'));
  return lines.slice(Math.max(0, from)).join('\n');
}

/** Ends this process when the one that started it by `nodeProcess` is gone. Nothing where it was started otherwise. */
export function endWithParent(): void {
  if (!process.connected) return;
  process.once('disconnect', () => process.exit(1));
  process.channel?.unref();
}
