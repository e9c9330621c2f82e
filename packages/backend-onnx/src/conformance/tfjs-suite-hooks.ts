import { readFile } from 'node:fs/promises';
import type { LoadHook, ResolveHook } from 'node:module';
import { fileURLToPath } from 'node:url';

/*
 * Module hooks under which there is exactly one TensorFlow.js: its ES modules, for its own tests, for our backend and for
 * the cpu backend alike. The tests import the library's inner files, which the bundle that Node takes by default lacks.
 */

const OF_TFJS = /\/node_modules\/@tensorflow\/[^/]+\/dist\//;
const TEST_FILE = /_test\.js$/;

/** Packages of TensorFlow.js are their ES modules; within them extensions are optional, as bundlers have it. */
export const resolve: ResolveHook = async (specifier, context, next) => {
  const bare = /^(@tensorflow\/[^/]+)(\/.*)?$/.exec(specifier);
  if (bare) return next(withExtension(bare[2] ? specifier : `${specifier}/dist/index`), context);
  const { parentURL = '' } = context;
  if (!specifier.startsWith('.') || !OF_TFJS.test(parentURL)) return next(specifier, context);
  if (TEST_FILE.test(parentURL) && specifier.endsWith('/jasmine_util')) return next(new URL('./tfjs-suite-environment.js', import.meta.url).href, context);
  try {
    return await next(withExtension(specifier), context);
  } catch {
    return next(`${specifier}/index.js`, context);
  }
};

const withExtension = (specifier: string): string => (/\.js$/.test(specifier) ? specifier : `${specifier}.js`);

/** Their package.json does not say that they are ES modules; seedrandom's exports are found by running it only. */
export const load: LoadHook = async (url, context, next) => {
  if (OF_TFJS.test(url)) return { format: 'module', source: await readFile(fileURLToPath(url)), shortCircuit: true };
  if (!/\/node_modules\/seedrandom\/index\.js$/.test(url)) return next(url, context);
  const source = `import { createRequire } from 'node:module'; export const { alea } = createRequire(import.meta.url)('./index.js');`;
  return { format: 'module', source, shortCircuit: true };
};
