import { existsSync } from 'node:fs';
import { readdir, readFile } from 'node:fs/promises';
import { createRequire, isBuiltin } from 'node:module';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { didYouMean, EspalierError, type PluginFactory } from '@espalier/core';
import { z } from 'zod';
import { isCode } from './file-store.ts';

export interface ResolveOptions {
  readonly registered?: readonly PluginFactory[]; // known without a package; looked at first
  readonly method?: string; // which factory of a package with several
  readonly directory?: string; // the user's project; default the working directory
  readonly from?: readonly string[]; // further modules (import.meta.url) whose packages are looked at
}

const SCOPE = '@espalier/';

/**
 * The factory of a plugin by name. A bare name is that of a registered plugin, then `@espalier/NAME`, then a package of
 * its own; anything else is a package or a path such as './my-plugin.js'. Packages are looked for from the user's
 * project, then from `from`, then from here. @throws EspalierError with the nearest names when there is none, when it
 * cannot be imported, or when it exports no plugin factory.
 */
export async function resolvePlugin(name: string, options: ResolveOptions = {}): Promise<PluginFactory> {
  const { registered = [], method, directory = process.cwd(), from = [] } = options;
  const known = registered.find((f) => (method === undefined || f.method === method) && (f.method === name || `${SCOPE}${f.method}` === name));
  if (known) return known;
  const bases = [join(directory, 'package.json'), ...from, import.meta.url];
  const bare = /^[\w-]+$/.test(name);
  for (const specifier of bare ? [`${SCOPE}${name}`, name] : [name]) {
    const url = await locate(specifier, bases);
    if (url !== undefined) return factoryIn(specifier, await imported(specifier, url), method ?? (bare ? name : undefined));
  }
  const near = [...registered.map((f) => f.method), ...(await installed(bases))];
  const tried = bare ? `${SCOPE}${name} and ${name} were` : `${name} was`;
  throw new EspalierError(
    `no plugin '${name}': ${tried} looked for from ${directory}.${didYouMean(name, near)} ${near.length ? `Known are ${[...new Set(near)].sort().join(', ')}. ` : ''}Install it with npm install ${bare ? SCOPE + name : name}.`,
  );
}

/** Whether a value is what `definePlugin` makes. */
export const isPluginFactory = (x: unknown): x is PluginFactory =>
  typeof x === 'function' &&
  'method' in x && typeof x.method === 'string' &&
  'version' in x && typeof x.version === 'string' &&
  'schema' in x && typeof x.schema === 'object' && x.schema !== null && 'safeParse' in x.schema;

/** The file of a package or path, as a URL; undefined when nobody has it. */
async function locate(specifier: string, bases: readonly string[]): Promise<string | undefined> {
  if (isBuiltin(specifier)) return undefined;
  for (const base of bases) {
    const require = createRequire(base);
    try {
      return pathToFileURL(require.resolve(specifier)).href;
    } catch (e) {
      if (!isCode(e, 'MODULE_NOT_FOUND', 'ERR_PACKAGE_PATH_NOT_EXPORTED')) throw e;
      const folder = (require.resolve.paths(specifier) ?? []).map((path) => join(path, specifier)).find((path) => existsSync(join(path, 'package.json')));
      if (folder === undefined) continue;
      // `require` does not see what is exported under the condition 'import' alone.
      const entry = await importEntry(folder);
      if (entry !== undefined && existsSync(entry)) return pathToFileURL(entry).href;
      throw new EspalierError(`plugin package '${specifier}' is in ${folder}, but its entry ${entry ?? "'.'"} is not there. Build or reinstall it.`, { cause: e });
    }
  }
  return undefined;
}

type Target = string | { [condition: string]: Target };
const Target: z.ZodType<Target> = z.lazy(() => z.union([z.string(), z.record(z.string(), Target)]));
const PackageFile = z.looseObject({
  exports: Target.optional(),
  main: z.string().optional(),
  peerDependencies: z.record(z.string(), z.string()).optional(),
});

/** The file that `import` of a package's name means. */
async function importEntry(folder: string): Promise<string | undefined> {
  const { exports, main } = await packageFile(folder);
  const target = exports === undefined ? (main ?? 'index.js') : entryOf(exports);
  return target === undefined ? undefined : join(folder, target);
}

function entryOf(target: Target): string | undefined {
  if (typeof target === 'string') return target;
  if (target['.'] !== undefined) return entryOf(target['.']);
  for (const [condition, inner] of Object.entries(target)) {
    const found = ['import', 'node', 'default'].includes(condition) ? entryOf(inner) : undefined;
    if (found !== undefined) return found;
  }
  return undefined;
}

async function packageFile(folder: string): Promise<z.infer<typeof PackageFile>> {
  const path = join(folder, 'package.json');
  const parsed = PackageFile.safeParse(JSON.parse(await readFile(path, 'utf8')));
  if (!parsed.success) throw new EspalierError(`${path}: ${parsed.error.issues.map((i) => `${i.path.join('.')}: ${i.message}`).join('; ')}`);
  return parsed.data;
}

async function imported(specifier: string, url: string): Promise<Record<string, unknown>> {
  try {
    const module: unknown = await import(url);
    return { ...(typeof module === 'object' ? module : {}) };
  } catch (e) {
    throw new EspalierError(`plugin package '${specifier}' could not be imported from ${url}: ${e instanceof Error ? e.message : String(e)}`, { cause: e });
  }
}

function factoryIn(specifier: string, module: Record<string, unknown>, method: string | undefined): PluginFactory {
  const factories = Object.values(module).filter(isPluginFactory);
  const methods = factories.map((f) => f.method);
  if (factories.length === 0)
    throw new EspalierError(`'${specifier}' exports no plugin factory: what definePlugin gives is expected, its exports are ${Object.keys(module).join(', ') || 'none'}. Is it the right package?`);
  const found = factories.find((f) => f.method === (method ?? specifier.slice(specifier.lastIndexOf('/') + 1)));
  if (found) return found;
  const [only] = factories;
  if (factories.length === 1 && only && method === undefined) return only;
  throw new EspalierError(`'${specifier}' has the plugins ${methods.join(', ')}${method === undefined ? ': say which' : `, not '${method}'`}.${didYouMean(method ?? specifier, methods)}`);
}

/** First-party plugins that are installed: packages of our scope with core as a peer. */
async function installed(bases: readonly string[]): Promise<string[]> {
  const folders = new Set(bases.flatMap((base) => createRequire(base).resolve.paths(`${SCOPE}x`) ?? []));
  const names = new Set<string>();
  for (const folder of folders) {
    const scope = join(folder, SCOPE);
    for (const name of existsSync(scope) ? await readdir(scope) : [])
      if (existsSync(join(scope, name, 'package.json')) && (await packageFile(join(scope, name))).peerDependencies?.[`${SCOPE}core`]) names.add(name);
  }
  return [...names].sort();
}
