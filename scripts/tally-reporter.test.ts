import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';

const root = fileURLToPath(new URL('..', import.meta.url));

it('the closing line counts passed, failed and skipped tests, broken files, throwing hooks and stray errors', () => {
  const cache = path.join(root, '.cache');
  mkdirSync(cache, { recursive: true });
  const folder = mkdtempSync(path.join(cache, 'tally-'));
  const write = (name: string, lines: readonly string[]): void => writeFileSync(path.join(folder, name), lines.join('\n'));
  try {
    write('vitest.config.mjs', [
      `export default { test: { globals: true, reporters: [${JSON.stringify(path.join(root, 'scripts', 'tally-reporter.ts'))}] } };`,
    ]);
    write('a.test.js', [
      "it('passes', () => expect(1).toBe(1));",
      "it('fails', () => expect(1).toBe(2));",
      "it.skipIf(true)('is skipped', () => {});",
    ]);
    write('broken.test.js', ["throw new Error('does not load');"]);
    write('hook.test.js', [
      "describe('hook', () => {",
      "  beforeAll(() => { throw new Error('hook'); });",
      "  it('does not start', () => {});",
      '});',
    ]);
    write('stray.test.js', ["it('passes', () => { Promise.reject(new Error('stray')); });"]);
    const vitest = path.join(root, 'node_modules', 'vitest', 'vitest.mjs');
    const { status, stdout, stderr } = spawnSync(process.execPath, [vitest, 'run'], { cwd: folder, encoding: 'utf8' });
    expect(stdout.trim().split('\n').at(-1), stderr).toBe('2 passed, 4 failed, 2 skipped');
    expect(status).toBe(1);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});
