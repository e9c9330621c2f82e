import { mkdir, writeFile } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { spawnEspalier } from '@espalier/cli';
import type { TopLevelSpec } from 'vega-lite';
import { z } from 'zod';
import { inTurn, thinned } from './runs.ts';
import { toSvg } from './start/charts.ts';
import { DATA } from './start/methods.ts';

/*
 * GIFT beside LoRA at the same places of pretrained small backbones, at several ranks: test accuracy against trained parameters.
 * Ranks 8 of LoRA and 16 of GIFT are the published budgets; GIFT's larger and LoRA's smaller ones bring the two to equal ones.
 *
 *   node examples/dist/gift-vqa.js [--seeds 3] [--train 2000] [--epochs 3] [--data easy-vqa:DIR] [--backbones lxmert,vl-bert]
 */
const { values } = parseArgs({
  options: {
    seeds: { type: 'string', default: '3' }, train: { type: 'string', default: '2000' }, epochs: { type: 'string', default: '3' }, data: { type: 'string', default: DATA },
    backbones: { type: 'string', default: 'lxmert,vl-bert' }, out: { type: 'string', default: join('out', 'gift-vqa') },
  },
});
const at = '"at":{"role":["attention.output","cross.output"]}';
const choices = [
  ...[1, 2, 8].map((rank) => ({ method: 'LoRA', rank, plugin: `lora:{"rank":${rank},"alpha":${2 * rank},${at}}` })),
  ...[4, 16, 64].map((rank) => ({ method: 'GIFT', rank, plugin: `gift:{"rank":${rank}}` })),
];
const seeds = Array.from({ length: Number(values.seeds) }, (_, seed) => seed);
const jobs = values.backbones.split(',').flatMap((backbone) => choices.flatMap((choice) => seeds.map((seed) => ({ backbone, seed, ...choice }))));

const stop = new AbortController();
process.once('SIGINT', () => stop.abort());
const WIDTH = 2; // trainings side by side, each on its share of the cores
const threads = String(Math.max(1, Math.floor(availableParallelism() / WIDTH)));
const Summary = z.looseObject({ accuracy: z.number(), trainableParameters: z.number() });

const results = await inTurn(jobs, WIDTH, async ({ backbone, method, rank, plugin, seed }) => {
  const label = `${backbone} ${method} r${rank} seed ${seed}`;
  const show = thinned((line) => console.log(`  ${label.padEnd(26)} ${line}`));
  const out = join(values.out, label.replaceAll(' ', '-'));
  const args = ['train', '--backbone', backbone, '--data', values.data, '--limit-train', values.train, '--epochs', values.epochs, '--batch-size', '16', '--lr', '5e-3', '--threads', threads, '--seed', String(seed), '--plugin', plugin, '--out', out];
  const { accuracy, trainableParameters } = Summary.parse(await spawnEspalier(args, show, stop.signal));
  console.log(`  ${label.padEnd(26)} ${(100 * accuracy).toFixed(1)} %`);
  return { backbone, method, rank, seed, accuracy, trainable: trainableParameters };
});

const keys = [...new Set(results.map((r) => `${r.backbone}|${r.method}|${r.rank}`))];
const rows = keys.map((key) => {
  const own = results.filter((r) => `${r.backbone}|${r.method}|${r.rank}` === key);
  const percent = own.map((r) => 100 * r.accuracy);
  const { backbone, method, rank, trainable } = own[0]!;
  return `| ${backbone} | ${method} | ${rank} | ${trainable.toLocaleString('en')} | ${(percent.reduce((a, b) => a + b, 0) / own.length).toFixed(1)} (${Math.min(...percent).toFixed(1)} to ${Math.max(...percent).toFixed(1)}) |`;
});
const table = ['| backbone | method | rank | trained parameters, answer head included | test accuracy, %: mean and range of seeds |', '|---|---|---:|---:|---|', ...rows].join('\n');
console.log(`\n${table}\n`);
await mkdir(values.out, { recursive: true });
await writeFile(join(values.out, 'table.md'), `${table}\n`);
await writeFile(join(values.out, 'accuracy.svg'), await toSvg(chart()));
console.log(`wrote ${join(values.out, 'table.md')} and ${join(values.out, 'accuracy.svg')}`);

/** Accuracy against trained parameters: a mark per seed, a line through the means of a method. */
function chart(): TopLevelSpec {
  const x = { field: 'trainable', type: 'quantitative', scale: { type: 'log', nice: false }, title: 'trained parameters' } as const;
  const color = { field: 'method', type: 'nominal', title: 'method' } as const;
  return {
    title: 'GIFT and LoRA where attention gives back',
    background: 'white',
    data: { values: results.map((r) => ({ ...r, percent: 100 * r.accuracy })) },
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
