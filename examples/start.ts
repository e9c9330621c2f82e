import { mkdir, rm, writeFile } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { spawnEspalier } from '@espalier/cli';
import pMap from 'p-map';
import { thinned } from './runs.ts';
import { DATA, methods, readPredictions, resultOf, type Method } from './start/methods.ts';
import { pictures } from './start/pictures.ts';
import { tableOf } from './start/table.ts';

/*
 * The main job: from a small pretrained backbone to a measured answer accuracy, three ways side by side.
 *
 *   npm start              LXMERT
 *   npm start -- --both    LXMERT and VL-BERT
 */
const { values } = parseArgs({ options: { both: { type: 'boolean', default: false }, backbone: { type: 'string', default: 'lxmert' }, out: { type: 'string', default: join('out', 'start') } } });
const names = values.both ? ['lxmert', 'vl-bert'] : [values.backbone];
const jobs = names.flatMap((backbone) => methods.map((method) => ({ backbone, method, out: join(values.out, `${backbone}-${method.key}`) })));
const started = performance.now();
await rm(values.out, { recursive: true, force: true });
await mkdir(values.out, { recursive: true });
console.log(`Fine-tuning ${names.join(' and ')} to answer questions about pictures, from weights that have only seen captions:`);
for (const { key, says } of methods) console.log(`  ${key.padEnd(8)} ${says}`);
console.log('');

const stop = new AbortController();
process.once('SIGINT', () => stop.abort());
const WIDTH = 2; // trainings side by side, each on its share of the cores
const threads = Math.max(1, Math.floor(availableParallelism() / WIDTH));
const results = await pMap(jobs, async ({ backbone, method, out }) => {
  const args = ['train', ...argumentsOf(backbone, method), '--out', out];
  const label = `${backbone} ${method.key}`;
  const show = thinned((line) => console.log(`  ${label.padEnd(16)} ${line}`));
  const summary = await spawnEspalier(args, (line) => show(line), stop.signal);
  const predictions = join(out, 'predictions.jsonl');
  await spawnEspalier(['eval', '--model', out, '--predictions', predictions], () => {}, stop.signal);
  const result = resultOf(backbone, method, summary);
  console.log(`  ${label.padEnd(16)} done: ${(100 * result.accuracy).toFixed(1)} % on the test split`);
  return { ...result, predictions: await readPredictions(predictions) };
}, { concurrency: WIDTH });

const table = tableOf(results);
console.log(`\n${table}\n`);
await writeFile(join(values.out, 'table.md'), `${table}\n`);
await writeFile(join(values.out, 'results.json'), `${JSON.stringify(results.map(({ predictions, ...r }) => ({ ...r, questions: predictions.length })), null, 1)}\n`);
for (const file of await pictures(results, values.out)) console.log(`wrote ${file}`);
const best = results.reduce((a, b) => (b.accuracy > a.accuracy ? b : a));
console.log(`\nAll in ${Math.round((performance.now() - started) / 1000)} s. Ask one of the models yourself:`);
console.log(`  npm run espalier -- predict --model ${join(values.out, `${best.backbone}-${best.key}`)} --image ${join(values.out, 'image.png')} --question '${best.predictions[0]!.question}'`);

function argumentsOf(backbone: string, method: Method): string[] {
  return [
    '--backbone', backbone, '--size', 'small', '--weights', `${backbone}-small`, '--data', DATA,
    '--limit-train', '2000', '--limit-eval', '400', '--epochs', '3', '--batch-size', '16', '--seed', '0',
    '--threads', String(threads), ...method.args,
  ];
}
