import { mkdir, writeFile } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { spawnEspalier } from '@espalier/cli';
import pMap from 'p-map';
import type { TopLevelSpec } from 'vega-lite';
import { z } from 'zod';
import { thinned } from './runs.ts';
import { toSvg } from './start/charts.ts';

/** One way of fine-tuning: a point of a method's line. */
export interface Choice {
  readonly method: string;
  readonly says: string; // what tells it from others of the method
  readonly plugin: string; // as on the command line
  readonly args?: readonly string[] | undefined; // further options of `espalier train`
  readonly pretune?: boolean | undefined; // on the same questions, before training
}

export interface Comparison {
  readonly title: string;
  readonly backbones: readonly string[];
  readonly choices: readonly Choice[];
  readonly seeds: number;
  readonly train: string; // questions
  readonly epochs: string;
  readonly data: string;
  readonly out: string;
}

export interface Result {
  readonly backbone: string;
  readonly choice: Choice;
  readonly seed: number;
  readonly accuracy: number;
  readonly trainable: number;
  readonly directory: string; // of the model
}

const Summary = z.looseObject({ accuracy: z.number(), trainableParameters: z.number() });
const WIDTH = 2; // trainings side by side, each on its share of the cores

/** Trains every choice on every backbone with every seed; writes `table.md` and `accuracy.svg` to `out`. */
export async function compare({ title, backbones, choices, seeds, train, epochs, data, out }: Comparison): Promise<Result[]> {
  const jobs = backbones.flatMap((backbone) => choices.flatMap((choice) => Array.from({ length: seeds }, (_, seed) => ({ backbone, choice, seed }))));
  const stop = new AbortController();
  process.once('SIGINT', () => stop.abort());
  const threads = String(Math.max(1, Math.floor(availableParallelism() / WIDTH)));
  const results = await pMap(jobs, async ({ backbone, choice, seed }): Promise<Result> => {
    const label = `${backbone} ${choice.method} ${choice.says} seed ${seed}`;
    const show = thinned((line) => console.log(`  ${label.padEnd(30)} ${line}`));
    const directory = join(out, label.replaceAll(/[^\w.-]+/g, '-'));
    const shared = ['--backbone', backbone, '--data', data, '--limit-train', train, '--batch-size', '16', '--threads', threads, '--seed', String(seed), '--plugin', choice.plugin];
    const pretuned = `${directory}-pretuned`;
    if (choice.pretune) await spawnEspalier(['pretune', ...shared, '--out', pretuned], show, stop.signal);
    const line = await spawnEspalier(['train', ...shared, '--epochs', epochs, '--lr', '5e-3', ...(choice.args ?? []), ...(choice.pretune ? ['--start', pretuned] : []), '--out', directory], show, stop.signal);
    const { accuracy, trainableParameters: trainable } = Summary.parse(line);
    console.log(`  ${label.padEnd(30)} ${(100 * accuracy).toFixed(1)} %`);
    return { backbone, choice, seed, accuracy, trainable, directory };
  }, { concurrency: WIDTH });
  const table = tableOf(results);
  console.log(`\n${table}\n`);
  await mkdir(out, { recursive: true });
  await writeFile(join(out, 'table.md'), `${table}\n`);
  await writeFile(join(out, 'accuracy.svg'), await toSvg(chart(title, results)));
  console.log(`wrote ${join(out, 'table.md')} and ${join(out, 'accuracy.svg')}`);
  return results;
}

function tableOf(results: readonly Result[]): string {
  const keyOf = ({ backbone, choice }: Result) => `${backbone}|${choice.method}|${choice.says}`;
  const rows = [...new Set(results.map(keyOf))].map((key) => {
    const own = results.filter((r) => keyOf(r) === key);
    const percent = own.map((r) => 100 * r.accuracy);
    const { backbone, choice, trainable } = own[0]!;
    return `| ${backbone} | ${choice.method} | ${choice.says} | ${trainable.toLocaleString('en')} | ${(percent.reduce((a, b) => a + b, 0) / own.length).toFixed(1)} (${Math.min(...percent).toFixed(1)} to ${Math.max(...percent).toFixed(1)}) |`;
  });
  return ['| backbone | method | | trained parameters, answer head included | test accuracy, %: mean and range of seeds |', '|---|---|---|---:|---|', ...rows].join('\n');
}

/** Accuracy against trained parameters: a mark per seed, a line through the means of a method. */
function chart(title: string, results: readonly Result[]): TopLevelSpec {
  const x = { field: 'trainable', type: 'quantitative', scale: { type: 'log', nice: false }, title: 'trained parameters' } as const;
  const color = { field: 'method', type: 'nominal', title: 'method' } as const;
  return {
    title,
    background: 'white',
    data: { values: results.map(({ backbone, choice, trainable, accuracy }) => ({ backbone, method: choice.method, trainable, percent: 100 * accuracy })) },
    facet: { column: { field: 'backbone', type: 'nominal' } },
    spec: {
      width: 320,
      height: 240,
      layer: [
        { mark: { type: 'point', filled: true, size: 50, opacity: 0.6 }, encoding: { x, color, y: { field: 'percent', type: 'quantitative', scale: { zero: false }, title: 'test accuracy, %' } } },
        { mark: 'line', encoding: { x, color, y: { field: 'percent', type: 'quantitative', aggregate: 'mean' } } },
      ],
    },
  };
}
