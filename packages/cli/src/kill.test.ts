import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { TIME_FIELDS } from '@espalier/train';
import { afterAll, describe, expect, it } from 'vitest';
import { spawnEspalier, type JsonLine } from './spawn.ts';

const main = fileURLToPath(new URL('../dist/main.js', import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'espalier-kill-'));
afterAll(() => rmSync(folder, { recursive: true }));
const EVERY = 3;

const args = (out: string) => [
  'train', '--backbone', 'lxmert', '--size', 'tiny', '--data', 'shapes:30', '--features', 'components', '--limit-eval', '16', '--plugin', 'lora:{"rank":2}',
  '--epochs', '2', '--batch-size', '8', '--accumulate', '2', '--checkpoint-every', String(EVERY), '--verbose', '--out', join(folder, out),
];

/** Trains in a process of its own and kills it (SIGKILL) after a step. */
async function killedAfter(step: number, out: string, ...more: string[]): Promise<number> {
  const child = spawn(process.execPath, [main, ...args(out), ...more, '--json'], { stdio: ['ignore', 'pipe', 'ignore'] });
  const ended = new Promise<NodeJS.Signals | null>((resolve) => child.once('close', (_, signal) => resolve(signal)));
  let last = 0;
  for await (const line of createInterface({ input: child.stdout })) {
    const event = Object(JSON.parse(line));
    if (event.type === 'step') last = event.step;
    if (last >= step) child.kill('SIGKILL');
  }
  expect(await ended).toBe('SIGKILL');
  return last;
}

const metrics = (out: string): unknown[] =>
  readFileSync(join(folder, out, 'metrics.jsonl'), 'utf8').trim().split('\n').map((line) => Object.fromEntries(Object.entries(Object(JSON.parse(line))).filter(([key]) => !TIME_FIELDS.includes(key))));
const timeless = (summary: JsonLine) => Object.fromEntries(Object.entries(summary).filter(([key]) => !['seconds', 'scoringSeconds', 'samplesPerSecond', 'peakMemory', 'out'].includes(key)));

describe('kill -9', () => {
  it('loses at most the steps since the last checkpoint, and changes no bit of the result', async () => {
    const whole = await spawnEspalier(args('whole'));
    const killed = [await killedAfter(5, 'killed'), await killedAfter(13, 'killed', '--resume')];
    expect(existsSync(join(folder, 'killed', 'manifest.json'))).toBe(false);
    const lines: JsonLine[] = [];
    const resumed = await spawnEspalier([...args('killed'), '--resume'], (line) => lines.push(line));
    const start = lines.find((line) => line.type === 'start');
    expect(Number(start?.['step'])).toBeGreaterThanOrEqual(killed[1]! - EVERY);
    expect(timeless(resumed)).toEqual(timeless(whole));
    expect(metrics('killed')).toEqual(metrics('whole'));
    const files = readdirSync(join(folder, 'whole')).filter((name) => name.endsWith('.safetensors') || name === 'manifest.json');
    expect(files.sort()).toEqual(['lora.safetensors', 'manifest.json', 'tune#head.safetensors']);
    for (const name of files) expect(readFileSync(join(folder, 'killed', name)).equals(readFileSync(join(folder, 'whole', name)))).toBe(true);
  });
});
