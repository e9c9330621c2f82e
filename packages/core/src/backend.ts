import * as tf from '@tensorflow/tfjs';
import { didYouMean, EspalierError } from './errors.ts';
import { patchWasm } from './wasm-patches.ts';

/** A backend in force, and what was tried before it. */
export interface SelectedBackend {
  readonly name: BackendName;
  readonly skipped: readonly { readonly name: BackendName; readonly reason: string }[];
}

const NAMES = ['tfjs-node-gpu', 'tfjs-node', 'wasm', 'cpu'] as const;
export type BackendName = (typeof NAMES)[number];

/**
 * Puts a TensorFlow.js backend in force: the one asked for, or the first that works of tfjs-node-gpu and tfjs-node (used
 * when the user has installed them), wasm with the patches of this package, and cpu.
 * @throws EspalierError when the one asked for is unknown or does not start.
 */
export async function selectBackend(choice: string = 'auto'): Promise<SelectedBackend> {
  const wanted = choice === 'auto' ? NAMES : NAMES.filter((n) => n === choice);
  if (!wanted.length) throw new EspalierError(`no backend '${choice}'.${didYouMean(choice, NAMES)} There are auto, ${NAMES.join(', ')}.`);
  const skipped: { name: BackendName; reason: string }[] = [];
  for (const name of wanted) {
    const reason = await start(name);
    if (reason === undefined) return { name, skipped };
    skipped.push({ name, reason });
  }
  throw new EspalierError(`backend '${choice}' does not start: ${skipped.map((s) => `${s.name}: ${s.reason}`).join('; ')}`);
}

/** Starts a backend; says why when it cannot. */
async function start(name: BackendName): Promise<string | undefined> {
  try {
    if (name === 'wasm') {
      await import('@tensorflow/tfjs-backend-wasm');
      if (!(await tf.setBackend('wasm'))) return 'WebAssembly did not start';
      patchWasm();
    } else if (name === 'cpu') {
      quiet();
      await tf.setBackend('cpu');
    } else {
      // An optional peer: its name is kept from bundlers, and it registers the backend 'tensorflow' by itself.
      await importPeer(`@tensorflow/${name}`);
      if (!(await tf.setBackend('tensorflow'))) return 'its native library did not start';
    }
    await tf.ready();
    return undefined;
  } catch (e) {
    const text = e instanceof Error ? e.message : String(e);
    return /Cannot find (package|module)/.test(text) ? 'not installed' : text.split('\n')[0]!;
  }
}

/** From the user's project where there is one, else from here. */
async function importPeer(name: string): Promise<unknown> {
  const { process } = globalThis as { process?: { cwd(): string; getBuiltinModule?(id: 'module'): { createRequire(from: string): (id: string) => unknown } } };
  const module = process?.getBuiltinModule?.('module');
  if (!process || !module) return import(/* @vite-ignore */ name);
  try {
    return module.createRequire(`${process.cwd()}/`)(name);
  } catch (e) {
    if (!(e instanceof Error) || !/Cannot find module/.test(e.message)) throw e;
    return import(/* @vite-ignore */ name);
  }
}

/** The cpu backend prints an advertisement on first use. */
function quiet(): void {
  const backend: object = tf.findBackend('cpu') ?? {};
  if ('firstUse' in backend) Object.assign(backend, { firstUse: false });
}
