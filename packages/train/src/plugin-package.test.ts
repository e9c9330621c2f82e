import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { EspalierError } from '@espalier/core';
import { scaler, toRefuse } from '@espalier/testing';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { isPluginFactory, resolvePlugin } from './plugin-package.ts';

/** The source of a module whose export has the form of a plugin factory. */
const factory = (name: string, method: string) =>
  `export const ${name} = Object.assign(() => { throw new Error('not attached here'); }, { method: '${method}', version: '1.2.3', schema: { safeParse: (data) => ({ success: true, data }) } });\n`;

const made = { directory: '' };
async function put(path: string, text: string): Promise<void> {
  await mkdir(join(made.directory, path, '..'), { recursive: true });
  await writeFile(join(made.directory, path), text);
}
const putPackage = (name: string, source: string, more: object = { exports: { '.': { types: './x.d.ts', default: './index.js' } } }) =>
  Promise.all([
    put(`node_modules/${name}/package.json`, JSON.stringify({ name, version: '1.2.3', type: 'module', ...more })),
    put(`node_modules/${name}/index.js`, source),
  ]);

beforeAll(async () => {
  made.directory = await mkdtemp(join(tmpdir(), 'espalier-plugins-'));
  await Promise.all([
    putPackage('@espalier/prompts', factory('prompts', 'prompts'), { exports: './index.js', peerDependencies: { '@espalier/core': '^0.1.0' } }),
    putPackage('@espalier/helpers', 'export const help = 1;\n', { main: 'index.js', dependencies: { '@espalier/core': '^0.1.0' } }),
    putPackage('@acme/prefix', factory('prefixTuning', 'prefix-tuning') + 'export const other = 3;\n', { exports: { import: './index.js' } }),
    putPackage('plain', factory('plain', 'plain')),
    putPackage('@acme/two', factory('a', 'first') + factory('b', 'second')),
    putPackage('@acme/none', 'export const x = 1; export function y() {}\n'),
    putPackage('@acme/broken', 'throw new Error("needs a licence");\n'),
    putPackage('@acme/unbuilt', '', { exports: { '.': './dist/index.js' } }),
    put('local.mjs', factory('mine', 'mine')),
  ]);
});
afterAll(() => rm(made.directory, { recursive: true }));

const find = (name: string, options: object = {}) => resolvePlugin(name, { directory: made.directory, ...options });

it('takes a bare name as a package of the scope, from the user\'s project', async () => {
  const found = await find('prompts');
  expect([found.method, found.version]).toEqual(['prompts', '1.2.3']);
  expect(isPluginFactory(found)).toBe(true);
});

it('takes anything else as a package or a path, whatever conditions it exports under', async () => {
  expect((await find('@acme/prefix')).method).toBe('prefix-tuning');
  expect((await find('@espalier/prompts')).method).toBe('prompts');
  expect((await find('plain')).method).toBe('plain');
  expect((await find('./local.mjs')).method).toBe('mine');
});

it('looks from further places when the project does not have it', async () => {
  const project = join(made.directory, 'elsewhere', 'node_modules', 'deep');
  const elsewhere = await mkdtemp(join(tmpdir(), 'espalier-elsewhere-'));
  await toRefuse(() => resolvePlugin('prompts', { directory: elsewhere }), EspalierError, "no plugin 'prompts'", elsewhere);
  expect((await resolvePlugin('prompts', { directory: elsewhere, from: [join(project, 'main.js')] })).method).toBe('prompts');
  await rm(elsewhere, { recursive: true });
});

it('chooses among several by method', async () => {
  expect((await find('@acme/two', { method: 'second' })).method).toBe('second');
  await toRefuse(() => find('@acme/two'), EspalierError, "'@acme/two' has the plugins first, second", 'say which');
  await toRefuse(() => find('@acme/two', { method: 'secnod' }), EspalierError, "not 'secnod'", "Did you mean 'second'");
});

it('names the nearest plugins when there is none, leaving libraries of the scope out', async () => {
  const message = await toRefuse(() => find('prompt', { registered: [scaler] }), EspalierError, "no plugin 'prompt'", "Did you mean 'prompts'", 'npm install @espalier/prompt');
  expect(message).toMatch(/Known are .*prompts.*scaler/);
  expect(message).not.toContain('helpers');
  await toRefuse(() => find('@acme/missing'), EspalierError, "no plugin '@acme/missing'", 'npm install @acme/missing');
  await toRefuse(() => find('fs'), EspalierError, "no plugin 'fs'");
});

it('says what is wrong with a package that is no plugin, cannot be imported, or is not built', async () => {
  await toRefuse(() => find('@acme/none'), EspalierError, "'@acme/none' exports no plugin factory", 'x, y');
  await toRefuse(() => find('@acme/broken'), EspalierError, "'@acme/broken' could not be imported", 'needs a licence');
  await toRefuse(() => find('@acme/unbuilt'), EspalierError, "'@acme/unbuilt'", join('dist', 'index.js'), 'Build or reinstall');
});
