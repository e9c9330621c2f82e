import { execFile } from 'node:child_process';
import { copyFileSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import * as z from 'zod';

const root = fileURLToPath(new URL('..', import.meta.url));
const library = path.join(root, 'examples', 'library.mjs');
const minutes = 60_000;
const Manifest = z.object({
  name: z.string(),
  exports: z.record(z.string(), z.object({ types: z.string(), default: z.string() })).default({}),
  bin: z.record(z.string(), z.string()).default({}),
});

interface Outcome {
  readonly status: number;
  readonly output: string;
}

/** Runs a command to its end, whatever that is; the output is stdout and stderr together. */
const run = (command: string, args: readonly string[], cwd: string): Promise<Outcome> =>
  new Promise((resolve) => {
    const shell = command === 'npm' && process.platform === 'win32';
    execFile(command, args, { cwd, shell, maxBuffer: 1 << 26 }, (error, stdout, stderr) => {
      resolve({ status: error === null ? 0 : typeof error.code === 'number' ? error.code : 1, output: stdout + stderr });
    });
  });

describe('the packed packages, installed by npm into an empty folder', () => {
  const folder = mkdtempSync(path.join(tmpdir(), 'espalier-pack-'));
  const tarballs = path.join(folder, 'tarballs');
  const app = path.join(folder, 'app');
  let installed: Outcome;

  beforeAll(async () => {
    mkdirSync(tarballs);
    mkdirSync(app);
    const packed = await run(process.execPath, ['scripts/bootstrap.mjs', '--build', 'run:pack', tarballs], root);
    if (packed.status !== 0) throw new Error(`packing failed:\n${packed.output}`);
    writeFileSync(path.join(app, 'package.json'), '{ "private": true, "type": "module" }\n');
    const files = readdirSync(tarballs).map((name) => path.join('..', 'tarballs', name));
    const flags = ['--prefer-offline', '--no-audit', '--no-fund', '--ignore-scripts', '--fetch-retries=1', '--fetch-retry-mintimeout=1000'];
    installed = await run('npm', ['install', ...flags, ...files], app);
    if (installed.status !== 0 && (await run('npm', ['ping', '--fetch-retries=1', '--fetch-retry-mintimeout=1000'], app)).status === 0) {
      throw new Error(`npm install failed:\n${installed.output}`);
    }
  }, 5 * minutes);

  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  const scope = path.join(app, 'node_modules', '@espalier');
  const manifests = () =>
    readdirSync(scope).map((name) => ({
      home: path.join(scope, name),
      ...Manifest.parse(JSON.parse(readFileSync(path.join(scope, name, 'package.json'), 'utf8'))),
    }));
  /** Every import specifier the packages offer. */
  const modules = (): string[] => manifests().flatMap(({ name, exports }) => Object.keys(exports).map((key) => path.posix.join(name, key)));
  const unreachable = 'npm reached no registry';

  it('are every package of packages/, each with all it exports, its licence and no tests', ({ skip }) => {
    if (installed.status !== 0) skip(unreachable);
    const packages = readdirSync(path.join(root, 'packages')).filter((name) =>
      existsSync(path.join(root, 'packages', name, 'package.json')),
    );
    expect(manifests().map((one) => path.basename(one.home))).toEqual(
      expect.arrayContaining(packages.filter((name) => !name.startsWith('create-'))),
    );
    for (const { name, home, exports, bin } of manifests()) {
      const promised = [...Object.values(exports).flatMap((target) => [target.types, target.default]), ...Object.values(bin), 'LICENSE'];
      expect(
        promised.filter((file) => !existsSync(path.join(home, file))),
        `missing from ${name}`,
      ).toEqual([]);
      const shipped = readdirSync(home, { encoding: 'utf8', recursive: true }).filter((file) => !file.startsWith('node_modules'));
      expect(
        shipped.filter((file) => /\.test\.|tsbuildinfo/.test(file)),
        `not for users, in ${name}`,
      ).toEqual([]);
    }
  });

  it('have types a strict TypeScript user can import', async ({ skip }) => {
    if (installed.status !== 0) skip(unreachable);
    writeFileSync(
      path.join(app, 'user.ts'),
      modules()
        .map((name, i) => `export * as package${i} from '${name}';\n`)
        .join(''),
    );
    const tsc = path.join(root, 'node_modules', 'typescript', 'bin', 'tsc');
    const flags = [
      '--noEmit',
      '--strict',
      '--skipLibCheck',
      '--target',
      'ES2022',
      '--module',
      'NodeNext',
      '--lib',
      'ES2023,DOM',
      'user.ts',
    ];
    expect(await run(process.execPath, [tsc, ...flags], app)).toEqual({ status: 0, output: '' });
  });

  it('load', async ({ skip }) => {
    if (installed.status !== 0) skip(unreachable);
    writeFileSync(
      path.join(app, 'load.mjs'),
      `${modules()
        .map((name) => `await import('${name}');\n`)
        .join('')}console.log('all loaded');\n`,
    );
    const loaded = await run(process.execPath, ['load.mjs'], app);
    expect(loaded.output).toContain('all loaded');
    expect(loaded.status).toBe(0);
  });

  it.skipIf(!existsSync(library))(
    'train with examples/library.mjs',
    async ({ skip }) => {
      if (installed.status !== 0) skip(unreachable);
      copyFileSync(library, path.join(app, 'library.mjs'));
      const trained = await run(process.execPath, ['library.mjs'], app);
      expect(trained.status, trained.output).toBe(0);
    },
    5 * minutes,
  );
});
