import { execFile } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, it, type TestContext } from 'vitest';

const minutes = 60_000;
const root = fileURLToPath(new URL('../../..', import.meta.url));
const main = join(root, 'packages', 'cli', 'dist', 'main.js');
const project = mkdtempSync(join(tmpdir(), 'espalier-native-full-'));
const home = join(project, 'node_modules', '@tensorflow', 'tfjs-node');

/** The wheel that ESPALIER_TENSORFLOW names, else that of reference/tensorflow/setup.sh. */
function findWheel(): string | undefined {
  const named = process.env['ESPALIER_TENSORFLOW'];
  if (named) return named;
  const libraries = join(root, '.cache', 'tensorflow-venv', 'lib');
  const wheels = existsSync(libraries) ? readdirSync(libraries).map((python) => join(libraries, python, 'site-packages', 'tensorflow')) : [];
  return wheels.find((folder) => existsSync(folder));
}

interface Ended {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

/** Runs a command in the project to its end. */
const inProject = (command: string, ...args: string[]): Promise<Ended> =>
  new Promise((resolve) => {
    execFile(command, args, { cwd: project, maxBuffer: 1 << 26 }, (e, out, err) => resolve({ code: e === null ? 0 : typeof e.code === 'number' ? e.code : -1, out, err }));
  });
const espalier = (...args: string[]) => inProject(process.execPath, main, ...args);
const lastObject = ({ out }: Ended) => Object(JSON.parse(out.trim().split('\n').at(-1) ?? ''));

const wheel = findWheel();
let missing: string | undefined = wheel === undefined ? 'no TensorFlow wheel: run reference/tensorflow/setup.sh or set ESPALIER_TENSORFLOW' : undefined;

beforeAll(async () => {
  if (missing !== undefined) return;
  writeFileSync(join(project, 'package.json'), '{ "private": true }\n');
  const patience = ['--fetch-retries=1', '--fetch-retry-mintimeout=1000'];
  const installed = await inProject('npm', 'install', '--ignore-scripts', '--prefer-offline', '--no-audit', '--no-fund', ...patience, '@tensorflow/tfjs-node@4.22.0');
  if (installed.code === 0) return;
  if ((await inProject('npm', 'ping', ...patience)).code === 0) throw new Error(`npm install failed:\n${installed.err}`);
  missing = 'npm reached no registry';
}, 5 * minutes);
afterAll(() => rmSync(project, { recursive: true, force: true }));

const needed = ({ skip }: TestContext) => (missing === undefined ? wheel! : skip(missing));

it('builds the real binding against the real wheel, and a training in the project runs on it', async (context) => {
  const tensorflow = needed(context);
  const training = ['train', '--backend', 'tfjs-node', '--size', 'tiny', '--data', 'shapes:24', '--features', 'components', '--limit-train', '16', '--limit-eval', '8', '--epochs', '1', '--plugin', 'lora', '--json'];
  const before = await espalier(...training, '--out', 'before');
  expect([before.code, before.err]).toEqual([1, expect.stringMatching(/can not be found at path: .*The command 'espalier native', run in .*, makes a binary that works/)]);

  const built = await espalier('native', '--tensorflow', tensorflow, '--json');
  expect([built.code, built.err]).toEqual([0, expect.stringContaining('compiling the binding of @tensorflow/tfjs-node 4.22.0')]);
  expect(lastObject(built)).toMatchObject({ type: 'native', package: '@tensorflow/tfjs-node', tensorflow: expect.stringMatching(/^\d+\.\d+\.\d+/), built: { wheel: tensorflow } });
  expect(readdirSync(join(home, 'lib', 'napi-v8'))).toEqual(['tfjs_binding.node']);

  const [native, cpu] = [await espalier(...training, '--out', 'native'), await espalier(...training, '--out', 'cpu', '--backend', 'cpu')];
  expect([native.code, native.err]).toEqual([0, expect.not.stringContaining('already registered')]);
  expect(lastObject(native)).toMatchObject({ type: 'summary', backend: 'tfjs-node', steps: 1 });
  expect(lastObject(native).loss).toBeCloseTo(lastObject(cpu).loss, 3);
}, 10 * minutes);

it('keeps that binary when the vendor cannot be reached', async (context) => {
  needed(context);
  const binary = join(home, 'lib', 'napi-v8', 'tfjs_binding.node');
  const { ino, mtimeMs } = statSync(binary);
  // a port of this machine where nobody listens, instead of the vendor's host
  const failed = await inProject('env', 'CDN_STORAGE=http://127.0.0.1:9/', process.execPath, main, 'native', '--vendor');
  expect([failed.code, failed.err]).toEqual([1, expect.stringMatching(/install script of @tensorflow\/tfjs-node .* ended with code 1.*leave out --vendor\nThe binary that was there is as it was/s)]);
  expect(statSync(binary)).toMatchObject({ ino, mtimeMs });
  expect(existsSync(join(dirname(dirname(dirname(binary))), 'deps'))).toBe(false);
}, 5 * minutes);
