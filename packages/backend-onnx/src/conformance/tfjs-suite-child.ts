import { readdirSync } from 'node:fs';
import { createRequire, register } from 'node:module';
import { dirname, join, relative, sep } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { isJasmineCore, execute } from './tfjs-suite-jasmine.ts';
import { targets, type SuiteRun, type Target } from './tfjs-suite.ts';

/*
 * Runs tfjs-core's own tests on the backend named by its argument and sends the result to its parent. See tfjs-suite.ts.
 */

const BACKEND = 'onnx-suite';

async function run(target: Target): Promise<SuiteRun> {
  const require = createRequire(import.meta.url);
  register('./tfjs-suite-hooks.js', import.meta.url);
  Object.assign(globalThis, { require }); // tfjs's modules, made for bundlers, call it
  const core: unknown = require('jasmine-core');
  if (!isJasmineCore(core)) throw new Error('jasmine-core has no boot()');
  const jasmine = core.boot();
  jasmine.DEFAULT_TIMEOUT_INTERVAL = 120_000;

  // Only now, under the hooks: everything that imports TensorFlow.js.
  const tf = await import('@tensorflow/tfjs');
  const { registerOnnx } = await import('../register.ts');
  const { ENGINE } = await import('@tensorflow/tfjs-core/dist/engine.js');
  const { setTestEnvs } = await import('@tensorflow/tfjs-core/dist/jasmine_util.js');
  if (tf.engine() !== ENGINE) throw new Error('the tests and the backend would see two instances of tfjs-core');

  const computed = new Set<string>();
  const backendName = target === 'cpu' ? 'cpu' : BACKEND;
  if (target !== 'cpu') {
    const backend = registerOnnx({ name: BACKEND, mode: target, threads: 1 });
    const compute = backend.run.bind(backend);
    backend.run = (kernel, operation) => {
      computed.add(kernel);
      return compute(kernel, operation);
    };
  }
  setTestEnvs([{ name: backendName, backendName, isDataSync: true }]);

  const root = join(dirname(require.resolve('@tensorflow/tfjs-core/package.json')), 'dist');
  const files = readdirSync(root, { recursive: true, encoding: 'utf8' }).filter((f) => f.endsWith('_test.js')).sort();
  for (const file of files) await import(pathToFileURL(join(root, file)).href);
  const fileOf = (path: string) => relative(root, path.startsWith('file:') ? fileURLToPath(path) : path).split(sep).join('/');
  const specs = await execute(jasmine.getEnv(), fileOf, (name) => name.replaceAll(` ${backendName} {}`, ''));
  return { version: tf.version_core, files: files.map((f) => f.split(sep).join('/')), specs, computed: [...computed].sort() };
}

const target = targets.find((t) => t === process.argv[2]);
if (!target || !process.send) throw new Error(`usage: fork of tfjs-suite-child.js with one of ${targets.join(', ')}`);
const result = await run(target);
process.send(result, () => process.disconnect());
