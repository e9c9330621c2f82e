import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as util from 'node:util';
import * as tf from '@tensorflow/tfjs';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { selectBackend } from './backend.ts';
import { EspalierError } from './errors.ts';
import { addRemovedUtilities, importTfjsNode } from './tfjs-node.ts';

const folders: string[] = [];
afterEach(() => {
  vi.restoreAllMocks();
  for (const folder of folders.splice(0)) rmSync(folder, { recursive: true });
});

const versions = Object(createRequire(import.meta.url)('@tensorflow/tfjs/package.json'));

/** A project in which each named package is one file; it is the working directory until the test ends. */
function project(packages: Readonly<Record<string, string>>, version: string = versions.version): string {
  const folder = mkdtempSync(join(tmpdir(), 'espalier-tfjs-node-'));
  folders.push(folder);
  for (const [name, code] of Object.entries(packages)) {
    const home = join(folder, 'node_modules', '@tensorflow', name);
    mkdirSync(home, { recursive: true });
    writeFileSync(join(home, 'package.json'), JSON.stringify({ name: `@tensorflow/${name}`, version, main: 'index.js' }));
    writeFileSync(join(home, 'index.js'), code);
  }
  vi.spyOn(process, 'cwd').mockReturnValue(folder);
  return folder;
}

const refusal = (name: 'tfjs-node' | 'tfjs-node-gpu') => importTfjsNode(name).then(() => undefined, (e: unknown) => e);

describe('importTfjsNode', () => {
  it("takes the user's project's package", async () => {
    project({ 'tfjs-node': "exports.from = 'the project'" });
    expect(await importTfjsNode('tfjs-node')).toEqual({ from: 'the project' });
  });

  it('says that it is not installed', async () => {
    project({});
    await expect(selectBackend('tfjs-node')).rejects.toThrow("backend 'tfjs-node' does not start: tfjs-node: not installed");
  });

  it('gives it the TensorFlow.js that is here instead of a second copy of that version, and only of that version', async () => {
    const copy = { 'tfjs-node': "exports.tfjs = require('@tensorflow/tfjs')", tfjs: 'exports.copied = true' };
    project(copy);
    expect(Object(await importTfjsNode('tfjs-node')).tfjs.engine()).toBe(tf.engine());
    project(copy, '4.99.0');
    expect(await importTfjsNode('tfjs-node')).toEqual({ tfjs: { copied: true } });
  });

  it('names the remedy when its binary is missing or does not load', async () => {
    const missing = 'The Node.js native addon module (tfjs_binding.node) can not be found at path: x. \\nPlease run npm rebuild';
    const folder = project({ 'tfjs-node': `throw new Error("${missing}")`, 'tfjs-node-gpu': "process.dlopen({ exports: {} }, __dirname + '/package.json')" });
    for (const name of ['tfjs-node', 'tfjs-node-gpu'] as const) {
      const e = await refusal(name);
      expect(e).toBeInstanceOf(EspalierError);
      expect(String(e)).toContain(`The command 'espalier native', run in ${folder}, makes a binary that works`);
    }
    await expect(selectBackend('tfjs-node')).rejects.toThrow(/tfjs_binding\.node\) can not be found at path: x\. The command 'espalier native'/);
  });

  it('does not call an installation that lacks a part "not installed"', async () => {
    const folder = project({ 'tfjs-node': "require('@mapbox/node-pre-gyp')" });
    await expect(selectBackend('tfjs-node')).rejects.toThrow(`tfjs-node: it needs '@mapbox/node-pre-gyp', which is not there: install that too in ${folder}`);
  });

  it('hands on what else goes wrong', async () => {
    project({ 'tfjs-node': "throw new TypeError('odd')" });
    expect(await refusal('tfjs-node')).toMatchObject({ name: 'TypeError', message: 'odd' });
  });

  it('finds its removed utilities on every Node', async () => {
    project({ 'tfjs-node': "const util = require('util'); exports.both = [util.isArray([]), util.isNullOrUndefined(null), util.isNullOrUndefined(0)]" });
    expect(await importTfjsNode('tfjs-node')).toEqual({ both: [true, true, false] });
  });
});

describe('addRemovedUtilities', () => {
  it('adds what this Node has removed and nothing else', () => {
    const { isArray: _, isNullOrUndefined: __, ...newer } = { ...util } as Record<string, unknown>;
    const before = { ...newer };
    addRemovedUtilities(newer);
    expect(newer).toEqual({ ...before, isArray: Array.isArray, isNullOrUndefined: expect.any(Function) });
    const [first, second] = [() => true, () => false];
    const node20 = { isArray: first, isNullOrUndefined: second };
    addRemovedUtilities(node20);
    expect(node20).toEqual({ isArray: first, isNullOrUndefined: second });
  });
});
