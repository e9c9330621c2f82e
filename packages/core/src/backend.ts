import * as tf from '@tensorflow/tfjs';
import { didYouMean, EspalierError } from './errors.ts';
import { importTfjsNode, TFJS_NODE } from './tfjs-node.ts';
import { patchWasm } from './wasm-patches.ts';

export { TFJS_NODE, type TfjsNode } from './tfjs-node.ts';

/** A backend in force, and what was tried before it. */
export interface SelectedBackend {
  readonly name: BackendName;
  readonly skipped: readonly { readonly name: BackendName; readonly reason: string }[];
}

export interface BackendOptions {
  /** Threads of the onnx backend, where that is taken; default 'auto': one for small graphs, all cores for others. */
  readonly threads?: number | 'auto';
}

/** In the order in which they are tried. */
const ORDER = [...TFJS_NODE, 'onnx', 'wasm', 'cpu'] as const;
/** Also to be had by name: the onnx backend running every operation at once, so that an error comes at the operation. */
const NAMES = [...ORDER, 'onnx-eager'] as const;
export type BackendName = (typeof NAMES)[number];

/**
 * Puts a TensorFlow.js backend in force: the one asked for, or the first that works of tfjs-node-gpu and tfjs-node (used
 * when the user has installed them), onnx (@espalier/backend-onnx), wasm with the patches of this package, and cpu. The
 * environment variable ESPALIER_BACKEND takes the place of 'auto'.
 * @throws EspalierError when the one asked for is unknown or does not start, or has no number of threads to set.
 */
export async function selectBackend(choice: string = 'auto', { threads = 'auto' }: BackendOptions = {}): Promise<SelectedBackend> {
  const asked = choice === 'auto' ? environment('ESPALIER_BACKEND') || 'auto' : choice;
  const wanted = asked === 'auto' ? ORDER : NAMES.filter((n) => n === asked);
  if (!wanted.length) throw new EspalierError(`no backend '${asked}'.${didYouMean(asked, NAMES)} There are auto, ${NAMES.join(', ')}.`);
  const skipped: { name: BackendName; reason: string }[] = [];
  for (const name of wanted) {
    const reason = await start(name, threads, choice === 'auto');
    if (reason === undefined) return { name, skipped };
    skipped.push({ name, reason });
  }
  throw new EspalierError(`backend '${asked}' does not start: ${skipped.map((s) => `${s.name}: ${s.reason}`).join('; ')}`);
}

/** Starts a backend; says why when it cannot. */
async function start(name: BackendName, threads: number | 'auto', automatic: boolean): Promise<string | undefined> {
  if (threads !== 'auto' && !automatic && !name.startsWith('onnx')) return `threads cannot be set here (asked for ${threads}), only for onnx`;
  try {
    if (name === 'onnx' || name === 'onnx-eager') {
      await registerOnnx(name, threads);
      await tf.setBackend(name);
    } else if (name === 'wasm') {
      await import('@tensorflow/tfjs-backend-wasm');
      if (!(await tf.setBackend('wasm'))) return 'WebAssembly did not start';
      patchWasm();
    } else if (name === 'cpu') {
      quiet();
      await tf.setBackend('cpu');
    } else {
      await importTfjsNode(name);
      if (!(await tf.setBackend('tensorflow'))) return 'its native library did not start';
    }
    await tf.ready();
    return undefined;
  } catch (e) {
    const text = e instanceof Error ? e.message : String(e);
    return /Cannot find (package|module)/.test(text) ? 'not installed' : text.split('\n')[0]!;
  }
}

/** Registers the onnx backend once: an optional dependency, whose name is kept from bundlers since it runs on Node alone. */
async function registerOnnx(name: 'onnx' | 'onnx-eager', threads: number | 'auto'): Promise<void> {
  const before = registered.get(name);
  if (before !== undefined && before !== threads) throw new EspalierError(`it runs with threads: ${before} already; they are set once, by the first selectBackend of a process`);
  if (before !== undefined) return;
  const specifier = '@espalier/backend-onnx';
  const module: unknown = await import(/* @vite-ignore */ specifier);
  if (typeof module !== 'object' || module === null || !('registerOnnx' in module) || typeof module.registerOnnx !== 'function')
    throw new EspalierError(`${specifier} exports no registerOnnx: another version?`);
  module.registerOnnx({ name, mode: name === 'onnx' ? 'lazy' : 'eager', threads });
  registered.set(name, threads);
}
const registered = new Map<string, number | 'auto'>();

/** A variable of the environment, where there is one: core runs in browsers too. */
function environment(name: string): string | undefined {
  const { process } = globalThis as { process?: { env?: Readonly<Record<string, string | undefined>> } };
  return process?.env?.[name];
}

/** The cpu backend prints an advertisement on first use. */
function quiet(): void {
  const backend: object = tf.findBackend('cpu') ?? {};
  if ('firstUse' in backend) Object.assign(backend, { firstUse: false });
}
