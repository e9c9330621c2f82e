import { createRequire } from 'node:module';
import { NEXT_BACKEND, OnnxBackendError } from './errors.ts';
import type { HostArray, HostType } from './arrays.ts';
import { encodeModel } from './onnx.ts';

/** An array on its way into a session. */
export interface Feed {
  readonly type: HostType;
  dims: readonly number[];
  data: HostArray;
  readonly location: 'cpu';
}

/** A compiled graph of onnxruntime-node's own binding, which computes synchronously; its public API does not. */
export interface NativeSession {
  loadModel(buffer: ArrayBufferLike, offset: number, length: number, options: object): void;
  run(feeds: Readonly<Record<string, Feed>>, fetches: Readonly<Record<string, null>>): Readonly<Record<string, { readonly data: HostArray }>>;
  dispose?(): void;
}

/** The module `dist/binding.js`. */
interface BindingModule {
  readonly binding: { readonly InferenceSession: new () => NativeSession & { runSync?: NativeSession['run'] } };
  initOrt?(): void; // of newer versions, which must be told to begin
}

const isBindingModule = (x: unknown): x is BindingModule =>
  typeof x === 'object' && x !== null && 'binding' in x && typeof x.binding === 'object' && x.binding !== null &&
  'InferenceSession' in x.binding && typeof x.binding.InferenceSession === 'function';

let loaded: (() => NativeSession) | undefined;

/**
 * Makes sessions of onnxruntime-node, after a self-test of the binding, which is not a public interface.
 * @throws OnnxBackendError when the binary is missing, of another platform, or does not compute as expected.
 */
export function openBinding(load: () => unknown = requireBinding): () => NativeSession {
  if (loaded && load === requireBinding) return loaded;
  const where = `onnxruntime-node for ${process.platform} ${process.arch}`;
  let module: unknown;
  try {
    module = load();
  } catch (e) {
    const reason = (e instanceof Error ? e.message : String(e)).split('\n')[0];
    throw new OnnxBackendError(
      `${where} does not load: ${reason}. It has binaries for linux and win32 on x64 and arm64, and darwin; reinstall it on this machine (npm rebuild copies none). ${NEXT_BACKEND}`,
    );
  }
  if (!isBindingModule(module)) throw new OnnxBackendError(`${where} has no binding.InferenceSession: another version than the one this package pins? ${NEXT_BACKEND}`);
  const { InferenceSession } = module.binding;
  const create = (): NativeSession => {
    const session = new InferenceSession();
    // Newer ones rename the synchronous call when `run` becomes asynchronous.
    return session.runSync ? Object.assign(session, { run: session.runSync }) : session;
  };
  module.initOrt?.();
  selfTest(create, where);
  if (load === requireBinding) loaded = create;
  return create;
}

function requireBinding(): unknown {
  const require = createRequire(import.meta.url);
  return require('onnxruntime-node/dist/binding.js');
}

/** [1, 2] + [3, 4] must be [4, 6], at once. */
function selfTest(create: () => NativeSession, where: string): void {
  const value = (name: string) => ({ name, type: 'float32', shape: [2] }) as const;
  const model = encodeModel({
    nodes: [{ name: 'self-test', op: 'Add', domain: '', inputs: ['a', 'b'], outputs: ['c'], attributes: {} }],
    constants: [], inputs: [value('a'), value('b')], outputs: [value('c')],
  });
  const feed = (...data: number[]): Feed => ({ type: 'float32', dims: [2], data: Float32Array.from(data), location: 'cpu' });
  const session = create();
  session.loadModel(model.buffer, model.byteOffset, model.byteLength, { intraOpNumThreads: 1 });
  const result: unknown = session.run({ a: feed(1, 2), b: feed(3, 4) }, { c: null });
  session.dispose?.();
  const found = typeof result === 'object' && result !== null && 'c' in result ? result.c : result;
  const data = typeof found === 'object' && found !== null && 'data' in found ? found.data : undefined;
  if (data instanceof Float32Array && data.join() === '4,6') return;
  const what = result instanceof Promise ? 'a promise: its run is asynchronous' : String(data);
  throw new OnnxBackendError(`${where} fails its self-test: [1, 2] + [3, 4] gave ${what}, expected 4,6. ${NEXT_BACKEND}`);
}
