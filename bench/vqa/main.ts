import { existsSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { spawnEspalier } from '@espalier/cli';
import pMap from 'p-map';
import { addLine, readLines, type Line } from './lines.ts';
import { render } from './render.ts';
import { rows, type Row } from './rows.ts';

const RESULTS = join('bench', 'results', 'vqa.jsonl');

/**
 * Runs the rows that have no result yet, each in a process of its own, and renders tables and plots from the results.
 * May be stopped at any moment: a row that was under way resumes from its last checkpoint.
 *
 *   npm run bench -- vqa                                  list
 *   npm run bench -- vqa --run --only easy-vqa-1000 --easy-vqa ../shared/data/easy-vqa [--jobs 2] [--only ...]
 *   npm run bench -- vqa --render
 */
export async function vqa(args: string[]): Promise<void> {
  const { values } = parseArgs({
    args,
    options: { run: { type: 'boolean' }, render: { type: 'boolean' }, only: { type: 'string', multiple: true }, again: { type: 'boolean' }, jobs: { type: 'string', default: '1' }, 'easy-vqa': { type: 'string' } },
  });
  const done = new Set((await readLines(RESULTS)).map((l) => l.row));
  const chosen = rows.filter((r) => values.only?.some((part) => r.name.includes(part)) ?? true);
  const missing = chosen.filter((r) => values.again || !done.has(r.name));
  if (!values.run) {
    for (const r of chosen) console.log(`${done.has(r.name) ? 'done   ' : 'missing'} ${r.name}`);
  } else {
    const jobs = Math.max(1, Number(values.jobs)); // side by side, each on its share of the cores
    const threads = Math.max(1, Math.floor(availableParallelism() / jobs));
    let written = Promise.resolve(); // results one after another: each rewrites the file
    const run = async (row: Row) => {
      const line = await runRow(row, values['easy-vqa'], threads);
      if (line) await (written = written.then(() => addLine(RESULTS, line)));
    };
    await pMap(missing, run, { concurrency: jobs });
  }
  if (values.render || values.run) await render(await readLines(RESULTS), join('bench', 'results'));
}

async function runRow(row: Row, easyVqa: string | undefined, threads: number): Promise<Line | undefined> {
  if (row.data === 'easy-vqa' && easyVqa === undefined) {
    console.log(`skipped ${row.name}: give --easy-vqa DIR, a copy of the easy-VQA data set`);
    return undefined;
  }
  const data = row.data === 'easy-vqa' ? `easy-vqa:${easyVqa}` : row.data;
  const out = join('out', 'bench', row.name.replaceAll(' ', '-'));
  const start = `${out}-start`;
  if (row.pretune && !existsSync(join(start, 'manifest.json'))) await spawnEspalier(['pretune', '--data', data, ...row.pretune, '--out', start, '--threads', String(threads)]);
  const args = ['train', '--data', data, ...row.args, ...(row.pretune ? ['--start', start] : []), '--out', out, '--checkpoint-every', '200', '--threads', String(threads), ...(existsSync(out) ? ['--resume'] : [])];
  console.log(`${row.name}: espalier ${args.join(' ')}`);
  let shown = 0;
  const summary = await spawnEspalier(args, (line) => {
    if (performance.now() - shown < 15_000 && line.type === 'step') return;
    if (line.type === 'step') shown = performance.now();
    console.log(`  ${row.name} ${JSON.stringify(line).slice(0, 220)}`);
  });
  const { name, setting, backbone, method, seed } = row;
  const line = (verb: string, words: readonly string[]) =>
    [`npm run espalier -- ${verb}`, '--data', row.data === 'easy-vqa' ? 'easy-vqa:DIR' : row.data, ...words.map((a) => (/[ {"]/.test(a) ? `'${a}'` : a))].join(' ');
  const command = row.pretune ? `${line('pretune', [...row.pretune, '--out', 'START'])} && ${line('train', [...row.args, '--start', 'START'])}` : line('train', row.args);
  return { row: name, setting, backbone, method, seed, command, summary: asSummary(summary) };
}

function asSummary(line: object) {
  const number = (key: string): number => {
    const value: unknown = Reflect.get(line, key);
    if (typeof value !== 'number') throw new Error(`the summary has no number '${key}': ${JSON.stringify(line)}`);
    return value;
  };
  // Where this machine keeps its files is nobody's business.
  const kept = Object.entries(line).filter(([key]) => !['out', 'data', 'type'].includes(key));
  return {
    ...Object.fromEntries(kept),
    accuracy: number('accuracy'), trainableParameters: number('trainableParameters'), totalParameters: number('totalParameters'),
    seconds: number('seconds'), flopsPerSample: number('flopsPerSample'),
  };
}
