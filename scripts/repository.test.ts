import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync, readdirSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { ESLint } from 'eslint';
import ts from 'typescript';
import { describe, expect, it } from 'vitest';
import * as z from 'zod';

const root = fileURLToPath(new URL('..', import.meta.url));
const Names = z.record(z.string(), z.string()).default({});
const Manifest = z.object({ name: z.string(), version: z.string(), dependencies: Names, peerDependencies: Names, devDependencies: Names });
const Config = z.object({ references: z.array(z.object({ path: z.string() })).default([]) });

const manifest = (folder: string) => Manifest.parse(JSON.parse(readFileSync(path.join(root, folder, 'package.json'), 'utf8')));
const references = (file: string): string[] =>
  Config.parse(ts.parseConfigFileTextToJson(file, readFileSync(path.join(root, file), 'utf8')).config)
    .references.map((one) => path.posix.join(path.posix.dirname(file), one.path))
    .sort();

const packages = readdirSync(path.join(root, 'packages'))
  .map((name) => `packages/${name}`)
  .filter((folder) => existsSync(path.join(root, folder, 'package.json')));
const members = [...packages, 'examples', 'bench'].sort();
const folderOf = new Map(members.map((folder) => [manifest(folder).name, folder]));

describe('the workspace', () => {
  it.each(['tsconfig.build.json', 'tsconfig.test.json'])('%s refers to every member', (file) => {
    expect(references(file)).toEqual(members);
  });

  it.each(members)('%s refers to exactly the packages it depends on', (folder) => {
    const { dependencies, peerDependencies, devDependencies } = manifest(folder);
    const needed = new Set(
      Object.keys({ ...dependencies, ...peerDependencies, ...devDependencies }).flatMap((name) => folderOf.get(name) ?? []),
    );
    expect(references(`${folder}/tsconfig.json`)).toEqual([...needed].sort());
  });

  it('has one version', () => {
    expect(new Set(members.map((folder) => manifest(folder).version))).toEqual(new Set([manifest('.').version]));
  });

  it('follows its lint rules', async () => {
    const results = await new ESLint({ cwd: root }).lintFiles(['.']);
    const found = results.flatMap(({ filePath, messages }) =>
      messages.map(({ line, message, ruleId }) => `${path.relative(root, filePath)}:${line}: ${message} (${ruleId})`),
    );
    expect(found).toEqual([]);
  });

  it('names every runtime dependency in THIRD_PARTY_NOTICES.md', () => {
    expect(() => execFileSync(process.execPath, ['scripts/notices.mjs', '--check'], { cwd: root, stdio: 'pipe' })).not.toThrow();
  });
});
