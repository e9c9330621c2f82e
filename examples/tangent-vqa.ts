import { mkdir, writeFile } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { spawnEspalier } from '@espalier/cli';
import pMap from 'p-map';
import type { TopLevelSpec } from 'vega-lite';
import { z } from 'zod';
import { toSvg } from './start/charts.ts';
import { DATA } from './start/methods.ts';

/*
 * Tangents of a pretrained small backbone on 1, 2, 5, 10 and 20 shards: the test accuracy of each composition, of the same without its
 * first shard, and of private training at epsilon 1, 3 and 8.
 *
 *   node examples/dist/tangent-vqa.js [--seeds 3] [--train 2000] [--epochs 10] [--data easy-vqa:DIR] [--backbone lxmert]
 */
const { values } = parseArgs({
  options: {
    seeds: { type: 'string', default: '3' }, train: { type: 'string', default: '2000' }, epochs: { type: 'string', default: '10' }, data: { type: 'string', default: DATA },
    backbone: { type: 'string', default: 'lxmert' }, shards: { type: 'string', default: '1,2,5,10,20' }, epsilons: { type: 'string', default: '1,3,8' }, out: { type: 'string', default: join('out', 'tangent-vqa') },
  },
});
const stop = new AbortController();
process.once('SIGINT', () => stop.abort());
const WIDTH = 2; // trainings side by side, each on its share of the cores
const threads = String(Math.max(1, Math.floor(availableParallelism() / WIDTH)));
const seeds = Array.from({ length: Number(values.seeds) }, (_, seed) => seed);
const counts = values.shards.split(',').map(Number);
const Scored = z.looseObject({ accuracy: z.number() });
const run = (...args: string[]) => spawnEspalier(args, () => {}, stop.signal);
const score = async (directory: string) => 100 * Scored.parse(await run('eval', '--model', directory)).accuracy;
const settings = (seed: number) => [
  '--backbone', values.backbone, '--data', values.data, '--limit-train', values.train, '--epochs', values.epochs, '--batch-size', '16', '--plugin', 'tangent:{"lastK":1}', '--loss', 'square:{"kappa":5}',
  '--optimiser', 'adam', '--lr', '1e-3', '--threads', threads, '--seed', String(seed),
];

interface Row {
  readonly what: string;
  readonly x: number; // shards, or epsilon
  readonly seed: number;
  readonly accuracy: number; // %
}
const rows: Row[] = [];
const add = (row: Row) => {
  rows.push(row);
  console.log(`  ${row.what.padEnd(28)} ${String(row.x).padStart(3)}  seed ${row.seed}  ${row.accuracy.toFixed(1)} %`);
};

for (const seed of seeds)
  for (const count of counts) {
    const out = join(values.out, `seed-${seed}`, `shards-${count}`);
    await run('train-shards', '--shards', String(count), '--workers', String(WIDTH), ...settings(seed), '--out', out);
    const models = Array.from({ length: count }, (_, i) => ['--model', join(out, `shard-${i + 1}-of-${count}`)]).flat();
    const whole = join(out, 'composed');
    await run('compose', ...models, '--to', whole);
    add({ what: 'composed', x: count, seed, accuracy: await score(whole) });
    if (count === 1) continue;
    const left = join(out, 'removed');
    await run('remove', '--model', whole, '--component', `shard-1-of-${count}`, '--to', left);
    add({ what: 'without the first shard', x: count, seed, accuracy: await score(left) });
  }

const wanted = values.epsilons.split(',').map(Number).flatMap((epsilon) => seeds.map((seed) => ({ epsilon, seed })));
await pMap(wanted, async ({ epsilon, seed }) => {
  const out = join(values.out, `seed-${seed}`, `epsilon-${epsilon}`);
  const privacy = JSON.stringify({ epsilon, delta: 0.1 / Number(values.train), clip: 10 });
  await run('train', ...settings(seed), '--batch-size', '128', '--privacy', privacy, '--out', out);
  add({ what: 'private', x: epsilon, seed, accuracy: await score(out) });
}, { concurrency: WIDTH });

const keys = [...new Set(rows.map((r) => `${r.what}|${r.x}`))];
const table = ['| | shards or epsilon | test accuracy, %: mean and range of seeds |', '|---|---:|---|', ...keys.map((key) => {
  const own = rows.filter((r) => `${r.what}|${r.x}` === key);
  const all = own.map((r) => r.accuracy);
  return `| ${own[0]!.what} | ${own[0]!.x} | ${(all.reduce((a, b) => a + b, 0) / all.length).toFixed(1)} (${Math.min(...all).toFixed(1)} to ${Math.max(...all).toFixed(1)}) |`;
})].join('\n');
console.log(`\n${table}\n`);
await mkdir(values.out, { recursive: true });
await writeFile(join(values.out, 'table.md'), `${table}\n`);
await writeFile(join(values.out, 'shards.svg'), await toSvg(chart('Composition', 'shards', rows.filter((r) => r.what !== 'private'))));
await writeFile(join(values.out, 'privacy.svg'), await toSvg(chart('Private training', 'epsilon', rows.filter((r) => r.what === 'private'))));
console.log(`wrote table.md, shards.svg and privacy.svg in ${values.out}`);

/** Accuracy against shards or epsilon: a mark per seed, a line through the means. */
function chart(title: string, over: string, shown: readonly Row[]): TopLevelSpec {
  const x = { field: 'x', type: 'quantitative', scale: { type: 'log', nice: false }, title: over } as const;
  const color = { field: 'what', type: 'nominal', title: null } as const;
  return {
    title: `${title} of tangents, last block of ${values.backbone}`,
    background: 'white',
    data: { values: shown.map((r) => ({ ...r })) },
    width: 360,
    height: 260,
    layer: [
      { mark: { type: 'point', filled: true, size: 50, opacity: 0.6 }, encoding: { x, color, y: { field: 'accuracy', type: 'quantitative', scale: { zero: false }, title: 'test accuracy, %' } } },
      { mark: 'line', encoding: { x, color, y: { field: 'accuracy', type: 'quantitative', aggregate: 'mean' } } },
    ],
  };
}
