import { spawn } from 'node:child_process';
import { parseArgs } from 'node:util';
import { didYouMean } from '@espalier/core';
import { block, blockWasm } from './block-rows.ts';
import { lxmertForward, lxmertFull, lxmertLora } from './lxmert-rows.ts';
import { isMemoryMode, memory, memoryChild } from './memory.ts';
import type { Finding, Row, Settings } from './settings.ts';
import { small, smallest } from './tiny-rows.ts';

const rows: readonly Row[] = [block, blockWasm, small, smallest, memory, lxmertForward, lxmertLora, lxmertFull];

/**
 * What the engine costs, as ratios of sides that take turns in one process; every row is a process of its own.
 *
 *   npm run bench -- engine                         all rows
 *   npm run bench -- engine --only block            one
 *   npm run bench -- engine --backend tfjs-node     the rows that can be had of it, in a project that has it
 *   npm run bench -- engine --list
 */
export async function engine(args: string[]): Promise<void> {
  const { values } = parseArgs({
    args,
    options: {
      only: { type: 'string' }, backend: { type: 'string', default: 'onnx' }, threads: { type: 'string', default: 'auto' }, rounds: { type: 'string' },
      json: { type: 'boolean', default: false }, list: { type: 'boolean' }, child: { type: 'string' },
    },
  });
  const { backend } = values;
  if (backend !== 'onnx' && backend !== 'tfjs-node') throw new Error(`no backend '${backend}' here: onnx or tfjs-node`);
  const settings: Settings = {
    backend, threads: values.threads === 'auto' ? 'auto' : counting('--threads', values.threads),
    rounds: values.rounds === undefined ? undefined : counting('--rounds', values.rounds),
  };
  if (values.child !== undefined && isMemoryMode(values.child)) return memoryChild(values.child, settings);
  const available = rows.filter((r) => r.backends.includes(backend));
  if (values.list) for (const r of available) console.log(`${r.name.padEnd(12)} ${r.about}`);
  else if (values.only === undefined) for (const r of available) await inProcessOfItsOwn(r.name, args);
  else {
    const row = available.find((r) => r.name === values.only);
    if (!row) throw new Error(`no row '${values.only}' of ${backend}.${didYouMean(values.only, available.map((r) => r.name))} There are ${available.map((r) => r.name).join(', ')}.`);
    await report(row, settings, values.json);
  }
}

async function report(row: Row, settings: Settings, json: boolean): Promise<void> {
  const { backend, threads, rounds } = settings;
  const options = [...(backend === 'onnx' ? [] : ['--backend', backend]), ...(threads === 'auto' ? [] : ['--threads', threads]), ...(rounds === undefined ? [] : ['--rounds', rounds])];
  const command = ['npm run bench -- engine --only', row.name, ...options].join(' ');
  if (!json) console.log(`\n${row.name}: ${row.about}\n  ${command}`);
  for (const finding of await row.measure(settings)) console.log(json ? JSON.stringify({ row: row.name, command, ...finding }) : `  ${shown(finding)}`);
}

/** "captured step / lazy step    0.31 [0.29, 0.33]  101 rounds; goal at most 0.5; 1.2 / 3.9 ms". */
function shown({ what, value, unit, low, high, rounds, goal, detail }: Finding): string {
  const digits = unit === 'ratio' ? 3 : 1;
  const interval = low === undefined || high === undefined ? '' : ` [${low.toFixed(digits)}, ${high.toFixed(digits)}]`;
  const met = goal && ('atMost' in goal ? value <= goal.atMost : value >= goal.atLeast);
  const notes = [
    rounds === undefined ? '' : `n = ${rounds}`,
    goal ? `goal ${'atMost' in goal ? `<= ${goal.atMost}` : `>= ${goal.atLeast}`}${met ? '' : ' MISSED'}` : '',
    detail ?? '',
  ];
  return `${what.padEnd(52)} ${value.toFixed(digits)}${unit === 'ratio' ? '' : ` ${unit}`}${interval}  ${notes.filter(Boolean).join('; ')}`;
}

/** Rows do not share memory, compiled graphs or patched kernels. */
function inProcessOfItsOwn(row: string, args: readonly string[]): Promise<void> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [process.argv[1]!, 'engine', ...args, '--only', row], { stdio: 'inherit' });
    child.on('error', reject);
    child.on('close', (code) => {
      if (code !== 0) process.exitCode = 1;
      resolve();
    });
  });
}

function counting(option: string, text: string): number {
  const n = Number(text);
  if (!Number.isInteger(n) || n < 1) throw new Error(`${option} ${text}: expected a whole number from 1 on`);
  return n;
}
