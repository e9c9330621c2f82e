import { appendFile, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { EspalierError } from '@espalier/core';
import { toRefuse } from '@espalier/testing';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { metricsFile } from './metrics.ts';

const made = { directory: '' };
beforeAll(async () => {
  made.directory = await mkdtemp(join(tmpdir(), 'espalier-metrics-'));
});
afterAll(() => rm(made.directory, { recursive: true }));

async function write(path: string, records: number, ...values: number[]): Promise<string> {
  const sink = metricsFile(path);
  await sink.open(records);
  for (const loss of values) await sink.write({ type: 'step', loss });
  await sink.flush();
  await sink.close();
  return readFile(path, 'utf8');
}

it('writes one JSON object a line, makes the folder, and begins anew', async () => {
  const path = join(made.directory, 'run', 'metrics.jsonl');
  expect(await write(path, 0, 1, 0.5)).toBe('{"type":"step","loss":1}\n{"type":"step","loss":0.5}\n');
  expect(await write(path, 0, 2)).toBe('{"type":"step","loss":2}\n');
});

it('keeps the records that a resumed run knows of and drops the rest, a line cut off included', async () => {
  const path = join(made.directory, 'resumed.jsonl');
  await write(path, 0, 1, 2, 3);
  await appendFile(path, '{"type":"st');
  expect(await write(path, 2, 9)).toBe('{"type":"step","loss":1}\n{"type":"step","loss":2}\n{"type":"step","loss":9}\n');
});

it('refuses a file with fewer records than the checkpoint knows of, and leaves it alone', async () => {
  const path = join(made.directory, 'short.jsonl');
  await writeFile(path, '{"loss":1}\n{"lo');
  await toRefuse(() => metricsFile(path).open(2), EspalierError, path, '1 lines', 'after 2');
  expect(await readFile(path, 'utf8')).toBe('{"loss":1}\n{"lo');
  await toRefuse(() => metricsFile(path).write({ loss: 1 }), EspalierError, 'not open');
});
