import { mkdir, writeFile } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { paretoChart, spawnEspalier, type Trained } from '@espalier/cli';
import pMap from 'p-map';
import { z } from 'zod';
import { thinned } from './runs.ts';
import { toSvg } from './start/charts.ts';
import { DATA } from './start/methods.ts';

/*
 * SpotTune's family beside its controls on pretrained small backbones: who is tuned, for which samples, at which budgets. Writes a
 * table, accuracy against FLOPs, and for what decides by sample its usage by layer, component and question type.
 *
 *   node examples/dist/spottune-vqa.js [--seeds 3] [--train 2000] [--epochs 3] [--data easy-vqa:DIR] [--backbones lxmert,vl-bert] [--methods BlockDrop,SpotTune]
 */
const { values } = parseArgs({
  options: {
    seeds: { type: 'string', default: '3' }, train: { type: 'string', default: '2000' }, epochs: { type: 'string', default: '3' }, data: { type: 'string', default: DATA },
    backbones: { type: 'string', default: 'lxmert,vl-bert' }, methods: { type: 'string' }, out: { type: 'string', default: join('out', 'spottune-vqa') },
  },
});

/** One way to decide, at one budget. */
interface Choice {
  readonly method: string;
  readonly setting: string; // '' where there is none
  readonly rate: string; // of learning
  readonly plugins: readonly string[];
  readonly adaptive?: boolean; // decides by sample
}

const [WHOLE, SMALL] = ['5e-4', '3e-3']; // for copies of weights, and for what is added to them
const spottune = (options: object) => `spottune:${JSON.stringify(options)}`;
/** Learnt decisions that open so many of the gates, counted by their multiply-adds. */
const budgeted = (rate: number, options: object) => spottune({ readout: 'cls', estimator: 'reinmax', budget: { kind: 'target', rate, weight: 10, by: 'macs' }, ...options });
const at = (rates: readonly number[], make: (rate: number) => Omit<Choice, 'setting'>): Choice[] => rates.map((rate) => ({ ...make(rate), setting: `${100 * rate} %` }));

const all: readonly Choice[] = [
  { method: 'frozen', setting: '', rate: SMALL, plugins: [] },
  { method: 'standard', setting: '', rate: WHOLE, plugins: [spottune({ strategy: 'standard' })] },
  ...[1, 2].map((last) => ({ method: 'last-k', setting: `k = ${last}`, rate: WHOLE, plugins: [spottune({ strategy: 'last_k', last })] })),
  ...at([0.3, 0.6], (rate) => ({ method: 'SpotTune_Block', rate: WHOLE, plugins: [budgeted(rate, {})], adaptive: true })),
  ...at([0.3, 0.6], (rate) => ({ method: 'SpotTune', rate: WHOLE, plugins: [budgeted(rate, { strategy: 'spottune' })], adaptive: true })),
  ...at([0.4, 0.6, 0.8], (rate) => ({ method: 'BlockDrop', rate: WHOLE, plugins: [budgeted(rate, { strategy: 'blockdrop', policy: { kind: 'trunk', prior: 0.9 } })], adaptive: true })),
  ...at([0.6], (rate) => ({ method: 'routed GIFT', rate: SMALL, plugins: [budgeted(rate, { copies: false }), 'gift:{}'], adaptive: true })),
  ...at([0.3, 0.6], (rate) => ({ method: 'global mask', rate: WHOLE, plugins: [budgeted(rate, { strategy: 'global' })] })),
  ...at([0.3, 0.6], (rate) => ({ method: 'random', rate: WHOLE, plugins: [spottune({ strategy: 'random', policy: { kind: 'random', rate } })] })),
];
const wanted = values.methods?.split(',');
const unknown = wanted?.find((name) => !all.some((c) => c.method === name));
if (unknown !== undefined) throw new Error(`--methods: there is no '${unknown}'; there are ${[...new Set(all.map((c) => c.method))].join(', ')}`);
const choices = all.filter((c) => !wanted || wanted.includes(c.method));
const seeds = Array.from({ length: Number(values.seeds) }, (_, seed) => seed);
const jobs = values.backbones.split(',').flatMap((backbone) => choices.flatMap((choice) => seeds.map((seed) => ({ backbone, seed, choice }))));

const stop = new AbortController();
process.once('SIGINT', () => stop.abort());
const WIDTH = 2; // trainings side by side, each on its share of the cores
const threads = String(Math.max(1, Math.floor(availableParallelism() / WIDTH)));
const Spread = z.object({ mean: z.number(), p95: z.number() });
const Summary = z.looseObject({
  accuracy: z.number(), trainableParameters: z.number(), seconds: z.number(), measured: z.record(z.string(), z.number()),
  flops: z.looseObject({ perSample: z.object({ expected: Spread, spent: Spread }) }),
});

const results = await pMap(jobs, async ({ backbone, choice, seed }) => {
  const { method, setting, rate, plugins, adaptive = false } = choice;
  const label = [backbone, method, setting, `seed ${seed}`].filter(Boolean).join(' ');
  const show = thinned((line) => console.log(`  ${label.padEnd(36)} ${line}`));
  const out = join(values.out, label.replaceAll(/[ =%]+/g, '-'));
  // A policy whose every weight moves as fast as an added one is sure of itself before it has seen much.
  const policy = adaptive || method === 'global mask' ? ['--group', 'policy:{"lr":1e-3}'] : [];
  const args = [
    'train', '--backbone', backbone, '--data', values.data, '--limit-train', values.train, '--epochs', values.epochs, '--batch-size', '16', '--lr', rate, '--threads', threads,
    '--seed', String(seed), ...plugins.flatMap((p) => ['--plugin', p]), ...policy, '--out', out,
  ];
  const { accuracy, trainableParameters, seconds, measured, flops: { perSample } } = Summary.parse(await spawnEspalier(args, show, stop.signal));
  const report = join(out, 'report');
  if (adaptive && seed === 0) await spawnEspalier(['eval', '--model', out, '--report', report, '--limit-eval', '1000', '--threads', threads], () => {}, stop.signal);
  const used = measured['spottune open'];
  console.log(`  ${label.padEnd(36)} ${(100 * accuracy).toFixed(1)} %${used === undefined ? '' : `, ${(100 * used).toFixed(0)} % of gates open`}`);
  return { backbone, method, setting, accuracy, trainable: trainableParameters, seconds, used, perSample, report: adaptive && seed === 0 ? report : undefined };
}, { concurrency: WIDTH });

const mean = (xs: readonly number[]) => xs.reduce((a, b) => a + b, 0) / xs.length;
const keys = [...new Set(results.map((r) => `${r.backbone}|${r.method}|${r.setting}`))];
const groups = keys.map((key) => results.filter((r) => `${r.backbone}|${r.method}|${r.setting}` === key));
const millions = (x: number) => (x / 1e6).toFixed(1);
const rows = groups.map((own) => {
  const percent = own.map((r) => 100 * r.accuracy);
  const { backbone, method, setting, trainable } = own[0]!;
  const used = own.flatMap((r) => (r.used === undefined ? [] : [r.used]));
  const spent = (f: (r: (typeof own)[number]) => number) => millions(mean(own.map(f)));
  return `| ${[
    backbone, method, setting, `${mean(percent).toFixed(1)} (${Math.min(...percent).toFixed(1)} to ${Math.max(...percent).toFixed(1)})`, used.length ? (100 * mean(used)).toFixed(0) : '',
    spent((r) => r.perSample.expected.mean), `${spent((r) => r.perSample.spent.mean)} (${spent((r) => r.perSample.spent.p95)})`, mean(own.map((r) => r.seconds)).toFixed(0), trainable.toLocaleString('en'),
  ].join(' | ')} |`;
});
const table = [
  '| backbone | method | setting | test accuracy, %: mean and range of seeds | gates open, % | MFLOPs expected | spent (95 %) | seconds | trained parameters |',
  '|---|---|---|---|---:|---:|---:|---:|---:|', ...rows,
].join('\n');
console.log(`\n${table}\n`);
await mkdir(values.out, { recursive: true });
const written = [join(values.out, 'table.md')];
await writeFile(written[0]!, `${table}\n`);
for (const backbone of values.backbones.split(',')) {
  const points = groups.flatMap((own): Trained[] => {
    const { method, setting } = own[0]!;
    return own[0]!.backbone === backbone ? [{ method, setting, flops: mean(own.map((r) => r.perSample.spent.mean)), accuracy: mean(own.map((r) => r.accuracy)) }] : [];
  });
  const file = join(values.out, `pareto-${backbone}.svg`);
  await writeFile(file, await toSvg(paretoChart(`${backbone}: accuracy against FLOPs`, points)));
  written.push(file);
}
console.log(`wrote ${written.join(', ')}${results.some((r) => r.report) ? ` and usage to ${results.flatMap((r) => r.report ?? []).join(', ')}` : ''}`);
