import * as tf from '@tensorflow/tfjs';

/*
 * What tfjs-backend-wasm 4.22 lacks or does slowly, mended at the level of its kernels, so that forward and backward
 * passes of any tfjs program gain. Results are the same products and sums. Ratios: bench/wasm-patches.
 */

/** The part of the backend that kernels of our own need; checked when the first one runs. */
interface WasmBackend {
  readonly wasm: {
    cwrap(name: string, returns: null, takes: readonly string[]): (...args: (number | Uint8Array | boolean)[]) => void;
    readonly tfjs: { registerTensor(id: number, size: number, offset: number): void; disposeData(id: number): void };
  };
  readonly dataIdMap: { get(id: object): { readonly memoryOffset: number } };
  makeOutput(shape: readonly number[], dtype: 'float32', offset?: number, values?: Float32Array): tf.TensorInfo;
  disposeData(id: object): boolean;
}

function wasmBackend(backend: object): WasmBackend {
  if (!isWasm(backend)) throw new Error('the wasm patches need tfjs-backend-wasm 4.22');
  return backend;
}
const isWasm = (x: object): x is WasmBackend => 'wasm' in x && 'dataIdMap' in x && 'makeOutput' in x && 'disposeData' in x;

const size = (shape: readonly number[]) => shape.reduce((a, b) => a * b, 1);

/** Replaces the backend's kernels once; does nothing the second time. */
export function patchWasm(): void {
  if (patched.has('wasm')) return;
  patched.add('wasm');
  patchProducts();
  patchSums();
  addSegmentSum();
}
const patched = new Set<string>();

/**
 * BatchMatMul: the backend gives XNNPACK only unflagged products of one batch entry; others take a plain loop. Here
 * flagged sides are transposed first, and every batch entry is a product of its own.
 */
function patchProducts(): void {
  const original = replace('BatchMatMul');
  let call: ReturnType<WasmBackend['wasm']['cwrap']> | undefined;
  register('BatchMatMul', ({ inputs, backend, attrs }) => {
    const { a, b } = inputs;
    const batch = a && size(a.shape.slice(0, -2));
    if (!a || !b || a.dtype !== 'float32' || b.dtype !== 'float32' || batch !== size(b.shape.slice(0, -2)) || !size(a.shape) || !size(b.shape))
      return original({ inputs, backend, ...(attrs && { attrs }) });
    const wasm = wasmBackend(backend);
    const left = attrs?.['transposeA'] ? lastTwoSwapped(a, backend) : a;
    const right = attrs?.['transposeB'] ? lastTwoSwapped(b, backend) : b;
    const [m, k] = left.shape.slice(-2) as [number, number];
    const n = right.shape.at(-1)!;
    if (right.shape.at(-2) !== k) throw new Error(`matMul: inner sizes ${k} and ${right.shape.at(-2)} of [${a.shape.join(', ')}] and [${b.shape.join(', ')}] differ`);
    const lead = a.shape.slice(0, -2).length >= b.shape.slice(0, -2).length ? a.shape.slice(0, -2) : b.shape.slice(0, -2);
    const out = wasm.makeOutput([...lead, m, n], 'float32');
    call ??= wasm.wasm.cwrap('BatchMatMul', null, ['number', 'array', 'number', 'number', 'array', 'number', 'number', 'number', 'number']);
    const sides = [
      { id: FIRST_ID, step: m * k, at: wasm.dataIdMap.get(left.dataId).memoryOffset },
      { id: FIRST_ID + 1, step: k * n, at: wasm.dataIdMap.get(right.dataId).memoryOffset },
      { id: FIRST_ID + 2, step: m * n, at: wasm.dataIdMap.get(out.dataId).memoryOffset },
    ];
    const [leftShape, rightShape] = [bytes([1, m, k]), bytes([1, k, n])];
    for (let i = 0; i < batch; i++) {
      for (const s of sides) wasm.wasm.tfjs.registerTensor(s.id, s.step, s.at + 4 * i * s.step);
      call(FIRST_ID, leftShape, 3, FIRST_ID + 1, rightShape, 3, 0, 0, FIRST_ID + 2);
      for (const s of sides) wasm.wasm.tfjs.disposeData(s.id);
    }
    if (left !== a) wasm.disposeData(left.dataId);
    if (right !== b) wasm.disposeData(right.dataId);
    return out;
  });
}

/** Ids of views into tensors, far above those the backend counts up. */
const FIRST_ID = 2 ** 31 - 8;
const bytes = (shape: readonly number[]) => new Uint8Array(Int32Array.from(shape).buffer);

function lastTwoSwapped(x: tf.TensorInfo, backend: object): tf.TensorInfo {
  const rank = x.shape.length;
  const perm = x.shape.map((_, i) => (i < rank - 2 ? i : i === rank - 2 ? rank - 1 : rank - 2));
  return run('Transpose', { x }, backend, { perm });
}

/** Sum over all axes but the last, a bias's gradient: as a product with ones instead of a transpose and a loop. */
function patchSums(): void {
  const original = replace('Sum');
  register('Sum', ({ inputs, backend, attrs }) => {
    const { x } = inputs;
    const axes = tf.util.parseAxisParam(axisOf(attrs?.['axis']), x?.shape ?? []);
    const leading = x && x.shape.length > 1 && axes.length === x.shape.length - 1 && !axes.includes(x.shape.length - 1);
    if (!x || !leading || x.dtype !== 'float32' || attrs?.['keepDims'] || !size(x.shape)) return original({ inputs, backend, ...(attrs && { attrs }) });
    const wasm = wasmBackend(backend);
    const width = x.shape.at(-1)!;
    const rows = size(x.shape) / width;
    const ones = wasm.makeOutput([1, rows], 'float32', undefined, new Float32Array(rows).fill(1));
    const flat = run('Reshape', { x }, backend, { shape: [rows, width] });
    const total = run('BatchMatMul', { a: ones, b: flat }, backend, { transposeA: false, transposeB: false });
    const out = run('Reshape', { x: total }, backend, { shape: [width] });
    for (const t of [ones, flat, total]) wasm.disposeData(t.dataId);
    return out;
  });
}

/** UnsortedSegmentSum, which the backend lacks and tfjs's gather gradient needs: rows with negative ids are dropped, as cpu does. */
function addSegmentSum(): void {
  if (tf.getKernel('UnsortedSegmentSum', 'wasm')) return;
  register('UnsortedSegmentSum', ({ inputs, backend, attrs }) => {
    const { x, segmentIds } = inputs;
    if (!x || !segmentIds) throw new Error('UnsortedSegmentSum needs x and segmentIds');
    const wasm = wasmBackend(backend);
    const segments = Number(attrs?.['numSegments']);
    const width = size(x.shape) / segmentIds.shape[0]!;
    const values = heap(wasm, x, Float32Array);
    const ids = heap(wasm, segmentIds, Int32Array);
    const sums = new Float32Array(segments * width);
    ids.forEach((id, row) => {
      if (id < 0 || id >= segments) return;
      for (let i = 0; i < width; i++) sums[id * width + i]! += values[row * width + i]!;
    });
    return wasm.makeOutput([segments, ...x.shape.slice(1)], 'float32', undefined, sums);
  });
}

function heap<T extends Float32Array | Int32Array>(wasm: WasmBackend, x: tf.TensorInfo, kind: new (buffer: ArrayBufferLike, offset: number, length: number) => T): T {
  const module: object = wasm.wasm;
  if (!('HEAPU8' in module) || !(module.HEAPU8 instanceof Uint8Array)) throw new Error('the wasm patches need tfjs-backend-wasm 4.22');
  return new kind(module.HEAPU8.buffer, wasm.dataIdMap.get(x.dataId).memoryOffset, size(x.shape));
}

type KernelCall = Parameters<tf.KernelFunc>[0];

/** Takes a kernel's own function out of the registry. */
function replace(name: string): (call: KernelCall) => tf.TensorInfo {
  const { kernelFunc } = tf.getKernel(name, 'wasm');
  tf.unregisterKernel(name, 'wasm');
  return (call) => single(kernelFunc(call));
}
function register(name: string, kernel: (call: KernelCall) => tf.TensorInfo): void {
  tf.registerKernel({ kernelName: name, backendName: 'wasm', kernelFunc: kernel });
}
function run(name: string, inputs: Record<string, tf.TensorInfo>, backend: object, attrs: Record<string, number[] | boolean>): tf.TensorInfo {
  return single(tf.getKernel(name, 'wasm').kernelFunc({ inputs, backend, attrs }));
}
const single = (out: tf.TensorInfo | tf.TensorInfo[]): tf.TensorInfo => (Array.isArray(out) ? out[0]! : out);
const axisOf = (axis: unknown): number | number[] => (typeof axis === 'number' ? axis : Array.isArray(axis) ? axis.map(Number) : []);
