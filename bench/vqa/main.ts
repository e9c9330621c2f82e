import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { spawnEspalier } from '@espalier/cli';
import { addLine, readLines } from './lines.ts';
import { render } from './render.ts';
import { rows, type Row } from './rows.ts';

const RESULTS = join('bench', 'results', 'vqa.jsonl');

/**
 * Runs the rows that have no result yet, each in a process of its own, and renders tables and plots from the results.
 * May be stopped at any moment: a row that was under way resumes from its last checkpoint.
 *
 *   npm run bench -- vqa                                  list
 *   npm run bench -- vqa --run --only easy-vqa-1000 --easy-vqa ../shared/data/easy-vqa
 *   npm run bench -- vqa --render
 */
export async function vqa(args: string[]): Promise<void> {
  const { values } = parseArgs({
    args,
    options: { run: { type: 'boolean' }, render: { type: 'boolean' }, only: { type: 'string' }, again: { type: 'boolean' }, 'easy-vqa': { type: 'string' } },
  });
  const done = new Set((await readLines(RESULTS)).map((l) => l.row));
  const chosen = rows.filter((r) => values.only === undefined || r.name.includes(values.only));
  const missing = chosen.filter((r) => values.again || !done.has(r.name));
  if (!values.run) {
    for (const r of chosen) console.log(`${done.has(r.name) ? 'done   ' : 'missing'} ${r.name}`);
  } else {
    for (const row of missing) await runRow(row, values['easy-vqa']);
  }
  if (values.render || values.run) await render(await readLines(RESULTS), join('bench', 'results'));
}

async function runRow(row: Row, easyVqa: string | undefined): Promise<void> {
  if (row.data === 'easy-vqa' && easyVqa === undefined) {
    console.log(`skipped ${row.name}: give --easy-vqa DIR, a copy of the easy-VQA data set`);
    return;
  }
  const data = row.data === 'easy-vqa' ? `easy-vqa:${easyVqa}` : row.data;
  const out = join('out', 'bench', row.name.replaceAll(' ', '-'));
  const start = `${out}-start`;
  if (row.pretune && !existsSync(join(start, 'manifest.json'))) await spawnEspalier(['pretune', '--data', data, ...row.pretune, '--out', start]);
  const args = ['train', '--data', data, ...row.args, ...(row.pretune ? ['--start', start] : []), '--out', out, '--checkpoint-every', '200', ...(existsSync(out) ? ['--resume'] : [])];
  console.log(`${row.name}: espalier ${args.join(' ')}`);
  let shown = 0;
  const summary = await spawnEspalier(args, (line) => {
    if (performance.now() - shown < 15_000 && line.type === 'step') return;
    if (line.type === 'step') shown = performance.now();
    console.log(`  ${JSON.stringify(line).slice(0, 220)}`);
  });
  const { name, setting, backbone, method, seed } = row;
  const line = (verb: string, words: readonly string[]) =>
    [`npm run espalier -- ${verb}`, '--data', row.data === 'easy-vqa' ? 'easy-vqa:DIR' : row.data, ...words.map((a) => (/[ {"]/.test(a) ? `'${a}'` : a))].join(' ');
  const command = row.pretune ? `${line('pretune', [...row.pretune, '--out', 'START'])} && ${line('train', [...row.args, '--start', 'START'])}` : line('train', row.args);
  await addLine(RESULTS, { row: name, setting, backbone, method, seed, command, summary: asSummary(summary) });
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
