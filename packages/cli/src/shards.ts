import { createHash } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { nodeProcess, runJobs, runJobsOnRedis, writeWhole, type Job, type JobEvent, type JobOptions } from '@espalier/train';
import type { z } from 'zod';
import { Interrupted, UsageError } from './errors.ts';
import { parseJson } from './json.ts';
import type { ShardsSettings } from './settings.ts';

const MAIN = fileURLToPath(new URL('../dist/main.js', import.meta.url));
const FILE = 'shards.json';

export interface ShardsOptions {
  readonly onEvent?: (event: JobEvent) => void;
  readonly signal?: AbortSignal;
}

/**
 * Trains `shard-I-of-K` in `out` for every I, each by an `espalier train` in a process of its own that is begun again where it is
 * lost, from its last checkpoint. Shards that are finished are not trained again. The settings lie in `shards.json`; a call with
 * others is refused. Gives the directories. @throws EspalierError naming the shards that did not finish.
 */
export async function runShards(settings: Omit<z.output<typeof ShardsSettings>, 'config' | 'json'>, { onEvent, signal }: ShardsOptions = {}): Promise<string[]> {
  const { shards, workers, attempts, queue, out, ...training } = settings;
  const file = await settingsFile(resolve(out), { ...training, shards });
  const all = Array.from({ length: shards }, (_, i): Job & { directory: string } => {
    const id = `shard-${i + 1}-of-${shards}`;
    const directory = join(resolve(out), id);
    return { id, directory, args: ['train', '--config', file, '--shard', `${i + 1}/${shards}`, '--out', directory, '--resume'] };
  });
  const left = all.filter(({ directory }) => !isFinished(directory));
  const running: JobOptions = { workers, attempts, start: ({ args }) => nodeProcess(MAIN, args), ...(onEvent && { onEvent }), ...(signal && { signal }) };
  // Whoever trains into the same directory shares the queue.
  const name = `espalier-${createHash('sha256').update(resolve(out)).digest('hex').slice(0, 16)}`;
  await (queue === undefined ? runJobs(left, running) : runJobsOnRedis(left, { ...running, url: queue, name }));
  if (signal?.aborted) throw new Interrupted(`stopped; what was running has a checkpoint. Go on with the same options and --out ${out}.`);
  return all.map(({ directory }) => directory);
}

/** A training writes its summary last. */
const isFinished = (directory: string): boolean => existsSync(join(directory, 'summary.json')) && existsSync(join(directory, 'manifest.json'));

/** Writes what all trainings share; those of an earlier call must be the same. */
async function settingsFile(out: string, { shards, ...training }: Readonly<Record<string, unknown>>): Promise<string> {
  const file = join(out, FILE);
  const wanted: Record<string, unknown> = { shards, training: JSON.parse(JSON.stringify(training)) };
  if (existsSync(file)) {
    const before = Object(parseJson(readFileSync(file, 'utf8'), file));
    const [a, b] = [flat(before), flat(wanted)];
    const changed = [...new Set([...a.keys(), ...b.keys()])].filter((key) => a.get(key) !== b.get(key));
    if (changed.length) throw new UsageError(`--out ${out} holds shards of other settings: ${changed.map((key) => `${key} is ${b.get(key) ?? 'not set'} and was ${a.get(key) ?? 'not set'}`).join('; ')}. Give these a directory of their own.`);
  } else await writeWhole(file, new TextEncoder().encode(`${JSON.stringify(wanted, null, 1)}\n`));
  const config = join(out, 'train.json');
  await writeWhole(config, new TextEncoder().encode(`${JSON.stringify(wanted['training'], null, 1)}\n`));
  return config;
}

const flat = (x: object): Map<string, string> =>
  new Map(Object.entries(x).flatMap(([key, value]: [string, unknown]) => (key === 'training' ? Object.entries(Object(value)).map(([name, v]): [string, string] => [name, JSON.stringify(v)]) : [[key, JSON.stringify(value)]])));
