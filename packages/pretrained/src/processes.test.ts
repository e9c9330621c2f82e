import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { afterAll, afterEach, beforeAll, beforeEach, expect, it } from 'vitest';
import { etagOf, hubServer, type HubServer } from '../fixtures/hub-server.ts';
import { fetchPretrained } from './index.ts';

const WEIGHTS = Uint8Array.from({ length: 300_000 }, (_, i) => (i * 31 + (i >> 8)) % 251);
const CONFIG = new TextEncoder().encode('{}');
let hub: HubServer;
let cacheDir: string;
beforeAll(async () => void (hub = await hubServer([{ name: 'owner/plain', revisions: { main: 'a'.repeat(40) }, files: { 'config.json': CONFIG, 'model.safetensors': WEIGHTS } }])));
afterAll(() => hub.close());
beforeEach(() => void (cacheDir = mkdtempSync(join(tmpdir(), 'espalier-processes-'))));
afterEach(() => rmSync(cacheDir, { recursive: true }));

const child = fileURLToPath(new URL('../fixtures/child.mjs', import.meta.url));
const start = () => spawn(process.execPath, [child, hub.url, cacheDir], { stdio: ['ignore', 'pipe', 'inherit'] });
const blobs = () => readdirSync(join(cacheDir, 'models--owner--plain', 'blobs')).sort();
const WHOLE = [CONFIG, WEIGHTS].map(etagOf).sort();

it('a killed process leaves what it had for the next', async () => {
  hub.mischief.stallAfter = [120_000];
  const first = start();
  for await (const line of createInterface({ input: first.stdout })) if (line === '120000') first.kill('SIGKILL');
  expect(blobs().filter((name) => name.endsWith('.incomplete'))).toHaveLength(1);
  hub.requests.length = 0;
  const { directory } = await fetchPretrained('owner/plain', { hubUrl: hub.url, cacheDir });
  expect(hub.requests.filter((line) => line.includes('bytes='))).toEqual([`GET /owner/plain/resolve/${'a'.repeat(40)}/model.safetensors bytes=120000-`, `GET /${'a'.repeat(40)}/model.safetensors bytes=120000-`]);
  expect(readFileSync(join(directory, 'model.safetensors')).equals(WEIGHTS)).toBe(true);
  expect(blobs()).toEqual(WHOLE);
});

it('processes that fetch the same at once do not disturb each other', async () => {
  hub.mischief.cutAfter = [50_000, 100_000, 150_000, 50_000];
  const codes = await Promise.all([start(), start(), start()].map(async (one) => {
    one.stdout.resume();
    return (await once(one, 'close'))[0];
  }));
  expect(codes).toEqual([0, 0, 0]);
  expect(blobs()).toEqual(WHOLE);
  const { directory } = await fetchPretrained('owner/plain', { hubUrl: hub.url, cacheDir, localFilesOnly: true });
  expect(readFileSync(join(directory, 'model.safetensors')).equals(WEIGHTS)).toBe(true);
});
