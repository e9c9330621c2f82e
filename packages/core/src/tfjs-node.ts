import { EspalierError } from './errors.ts';

/** The optional peers that bring the backend 'tensorflow', the faster first. */
export const TFJS_NODE = ['tfjs-node-gpu', 'tfjs-node'] as const;
export type TfjsNode = (typeof TFJS_NODE)[number];

interface Require {
  (id: string): unknown;
  resolve(id: string): string;
  readonly cache: Record<string, unknown>;
}

/** What is used of Node where this runs on it: core runs in browsers too and imports no Node module. */
interface Node {
  cwd(): string;
  getBuiltinModule?: {
    (id: 'module'): { createRequire(from: string): Require };
    (id: 'util'): object;
  };
}

const SHARED = ['@tensorflow/tfjs', '@tensorflow/tfjs-core'] as const;

/**
 * Loads tfjs-node or tfjs-node-gpu, which registers the backend 'tensorflow' by itself: the one of the user's project (of
 * the working directory) where there is one, else the one beside this package. Their names are kept from bundlers.
 * @throws EspalierError when it is installed and cannot be loaded; an error with 'Cannot find' when it is not installed.
 */
export async function importTfjsNode(name: TfjsNode): Promise<unknown> {
  const specifier = `@tensorflow/${name}`;
  const { process } = globalThis as { process?: Node };
  if (!process?.getBuiltinModule) return import(/* @vite-ignore */ specifier);
  addRemovedUtilities(process.getBuiltinModule('util'));
  const { createRequire } = process.getBuiltinModule('module');
  const [project, here] = [createRequire(`${process.cwd()}/`), createRequire(import.meta.url)];
  const file = find(specifier, project) ?? here.resolve(specifier);
  try {
    shareTfjs(createRequire(here.resolve(SHARED[0])), createRequire(file));
    return here(file);
  } catch (e) {
    throw explained(e, process.cwd());
  }
}

/** tfjs-node 4.22 calls deprecated functions of `util`, and Node 23 has begun to remove them: gives back what is missing, and nothing else. */
export function addRemovedUtilities(util: object): void {
  const removed = { isArray: Array.isArray, isNullOrUndefined: (x: unknown) => x === null || x === undefined };
  for (const [name, value] of Object.entries(removed)) if (!(name in util)) Object.assign(util, { [name]: value });
}

/** Has the package use the TensorFlow.js that is here where its own is another copy of the same version, so that there is one. */
function shareTfjs(ours: Require, theirs: Require): void {
  for (const name of SHARED) {
    const [here, there] = [find(name, ours), find(name, theirs)];
    if (here === undefined || there === undefined || versionOf(name, ours) !== versionOf(name, theirs)) continue;
    ours(here);
    ours.cache[there] ??= ours.cache[here];
  }
}

/** The file that a name stands for, as seen from a place. */
function find(name: string, from: Require): string | undefined {
  try {
    return from.resolve(name);
  } catch {
    return undefined;
  }
}

function versionOf(name: string, from: Require): unknown {
  const manifest = from(`${name}/package.json`);
  return typeof manifest === 'object' && manifest && 'version' in manifest ? manifest.version : undefined;
}

/** What keeps an installed package from loading, in one line and with the remedy. */
function explained(e: unknown, project: string): unknown {
  if (!(e instanceof Error)) return e;
  const [said = ''] = e.message.split('\n');
  const [, part] = /^Cannot find module '([^']+)'/.exec(said) ?? [];
  if (part !== undefined) return new EspalierError(`it needs '${part}', which is not there: install that too in ${project}`, { cause: e });
  const binary = e.message.includes('tfjs_binding.node') || ('code' in e && e.code === 'ERR_DLOPEN_FAILED');
  return binary ? new EspalierError(`${said.trim().replace(/\.$/, '')}. The command 'espalier native', run in ${project}, makes a binary that works`, { cause: e }) : e;
}
