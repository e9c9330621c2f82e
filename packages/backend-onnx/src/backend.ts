import { MathBackendCPU } from '@tensorflow/tfjs-backend-cpu';
import * as tf from '@tensorflow/tfjs';
import { hostArray, isHostType, type HostArray } from './arrays.ts';
import { openBinding } from './binding.ts';
import { NEXT_BACKEND, OnnxBackendError, RaggedError } from './errors.ts';
import { capture, type Captured, type CaptureOptions } from './capture.ts';
import type { Recording } from './recording.ts';
import { recorder, type Mode, type Recorder, type Statistics } from './recorder.ts';
import type { Operation } from './operation.ts';
import { storage, type Storage } from './storage.ts';
import type { Trace } from './trace.ts';

export interface BackendSettings {
  readonly mode: Mode;
  readonly threads: number | 'auto';
  readonly cacheLimit: number;
  readonly cores: number;
}

/** What tfjs's data map holds for an array of ours: a storage, whose values are computed when a kernel of the cpu backend asks. */
class StoredRecord {
  refCount = 1;

  constructor(
    private readonly backend: OnnxBackend,
    public storage: Storage,
  ) {}

  get dtype() {
    return this.storage.dtype;
  }
  get values(): HostArray {
    return this.backend.valuesOf(this.storage);
  }
}

/**
 * From so many multiply-adds on a graph has several threads. A smaller one that runs before a larger (a policy before its pass)
 * would leave threads waiting actively, and the larger one computes beside them: docs/engine.md.
 */
const MANY = 1 << 27;
const PENDING = 1 << 16;

type Written = Parameters<MathBackendCPU['write']>[0];

/**
 * A TensorFlow.js backend on ONNX Runtime. Kernels with an emitter become ONNX nodes; the others are the cpu backend's,
 * which this extends: they find their inputs computed when they ask for the values.
 */
export class OnnxBackend extends MathBackendCPU {
  private readonly recorder: Recorder;
  /** The step being recorded for replay, if one is. */
  recording: Recording | undefined;
  /** Kernels that the cpu backend ran, and how often. */
  readonly fallbacks = new Map<string, number>();
  /** The cpu kernel running now. */
  fallback: string | undefined;

  constructor(readonly settings: BackendSettings) {
    super();
    const { mode, cacheLimit } = settings;
    this.recorder = recorder(openBinding(), { mode, cacheLimit, pendingLimit: PENDING, threadsFor: (macs) => this.threadsFor(macs) });
  }

  get mode(): Mode {
    return this.settings.mode;
  }

  /** Threads of a graph with so many multiply-adds. */
  threadsFor(macs: number): number {
    const { threads, cores, mode } = this.settings;
    // Every operation by itself is a graph of its own in eager mode, each with threads of its own.
    return threads !== 'auto' ? threads : macs < MANY || mode === 'eager' ? 1 : cores;
  }

  /** Records an operation; its outputs are new arrays with one reference each. */
  run(kernel: string, operation: Operation): tf.TensorInfo[] {
    const inputs = operation.inputs.map((x) => ({ storage: this.storageOf(x), shape: x.shape }));
    return this.recorder.record(kernel, operation, inputs).map((s) => ({ dataId: this.hold(s), shape: [...s.shape], dtype: s.dtype }));
  }

  /** Runs what is recorded: everything that is alive gets its values. */
  flush(): void {
    this.recorder.flush();
  }

  /** Computes a trace of what is pending; what else is alive stays pending. */
  execute(trace: Trace): void {
    this.recorder.execute(trace);
  }

  /** Computes a trace from other values of its leaves. */
  compute(trace: Trace, leaves: readonly HostArray[]): HostArray[] {
    return this.recorder.compute(trace, leaves);
  }

  /** Records a step once per signature and replays it: see `capture`. */
  capture(step: (args: readonly tf.Tensor[]) => readonly tf.Tensor[], options?: CaptureOptions): Captured {
    return capture(this, step, options);
  }

  get pending() {
    return this.recorder.pending;
  }

  statistics(): Statistics & { readonly fallbacks: Readonly<Record<string, number>> } {
    return { ...this.recorder.statistics(), fallbacks: Object.fromEntries(this.fallbacks) };
  }

  /** Drops compiled graphs; they are compiled again when needed. */
  clearGraphs(): void {
    this.recorder.clear();
  }

  storageOf(x: { readonly dataId: object }): Storage {
    const record: unknown = this.data.get(x.dataId);
    if (record instanceof StoredRecord) return record.storage;
    throw new OnnxBackendError(`an array of ${String(Reflect.get(Object(record), 'dtype'))} has no values that ONNX Runtime could use, only float32, int32 and bool have. ${NEXT_BACKEND}`);
  }

  /** Whether the array lives here, as numbers or booleans. */
  holds(x: { readonly dataId: object }): boolean {
    return this.data.has(x.dataId) && this.data.get(x.dataId) instanceof StoredRecord;
  }

  /** A tensor of a storage, which it shares with nothing else. */
  tensorOf(s: Storage, shape: readonly number[]): tf.Tensor {
    return tf.engine().makeTensorFromTensorInfo({ dataId: this.hold(s), shape: [...shape], dtype: s.dtype }, this);
  }

  /** Values on the host, computed when need be. A step that is being recorded learns that it was looked into. */
  valuesOf(s: Storage): HostArray {
    if (s.ragged) throw new RaggedError(`an array [${s.shape.join(', ')}] of some samples is read on the host${this.fallback === undefined ? '' : `, by kernel ${this.fallback}`}`);
    this.recording?.looked(s, this.fallback);
    return this.recorder.values(s);
  }

  /** Values that are on the host already; asking for them is not looking into a recorded step, for a check only. */
  known(x: tf.TensorInfo): HostArray | undefined {
    const s = this.storageOf(x);
    return s.producer || s.ragged ? undefined : s.values;
  }

  /** Runs a kernel of the cpu backend. */
  fallBack<T>(kernel: string, run: () => T): T {
    this.fallbacks.set(kernel, (this.fallbacks.get(kernel) ?? 0) + 1);
    const outer = this.fallback;
    this.fallback = kernel;
    try {
      return run();
    } finally {
      this.fallback = outer;
    }
  }

  /** Gives an array another storage: what shares it with the array does not see the change. False where others refer to the same array. */
  exchange(x: { readonly dataId: object }, s: Storage): boolean {
    const record: unknown = this.data.get(x.dataId);
    if (!(record instanceof StoredRecord) || record.refCount > 1) return false;
    this.recorder.release(record.storage);
    record.storage = s;
    return true;
  }

  /** An array of floats as it lies on the host, computed when need be. To be read only: others may share it. */
  values(x: tf.Tensor): Float32Array {
    return floats(this.valuesOf(this.storageOf(x)), x);
  }

  /**
   * The values of a variable, or of an array that nothing else refers to, to be changed in place. Where something else
   * still reads them (a clone, an operation that has not run) the variable gets a copy first.
   * @throws when x is no variable and shares its values.
   */
  writable(x: tf.Tensor): Float32Array {
    const record: unknown = this.data.get(x.dataId);
    if (!(record instanceof StoredRecord)) throw new OnnxBackendError(`an array of ${x.dtype} cannot be changed in place`);
    const values = floats(this.valuesOf(record.storage), x);
    if (record.refCount === 1 && record.storage.pins === 0) return values;
    const own = storage(values.length, 'float32', record.storage.shape, values.slice());
    if (!this.exchange(x, own)) {
      if (!(x instanceof tf.Variable)) throw new OnnxBackendError(`an array [${x.shape.join(', ')}] cannot be changed in place: other tensors share it`);
      const copy = this.tensorOf(own, x.shape);
      x.assign(copy);
      copy.dispose();
    }
    return floats(own.values!, x);
  }

  /** A tensor whose values are this array itself, a window into another one apart: nobody may change it afterwards. */
  adopt(values: Float32Array, shape: readonly number[]): tf.Tensor {
    const whole = values.byteLength === values.buffer.byteLength;
    return this.tensorOf(storage(values.length, 'float32', [...shape], whole ? values : values.slice()), shape);
  }

  // --- the interface of a TensorFlow.js backend ---

  /** Values from outside: copied, since what is computed from them may be computed later. */
  override write(values: Written, shape: number[], dtype: tf.DataType): object {
    if (!isHostType(dtype) || !isNumeric(values)) return super.write(values, shape, dtype);
    const own = hostArray(values, dtype);
    return this.hold(storage(own.length, dtype, shape, own === values ? own.slice() : own));
  }

  /** Values a cpu kernel made: kept as they are, unless they are a window into another array. */
  override makeTensorInfo(shape: number[], dtype: tf.DataType, values?: Written | string[]): tf.TensorInfo {
    if (!isHostType(dtype) || !isNumeric(values)) return super.makeTensorInfo(shape, dtype, values);
    const own = hostArray(values, dtype);
    const whole = own.byteLength === own.buffer.byteLength;
    return { dataId: this.hold(storage(own.length, dtype, shape, whole ? own : own.slice())), shape, dtype };
  }

  override move(dataId: object, values: Written, shape: number[], dtype: tf.DataType, refCount: number): void {
    if (!isHostType(dtype) || !isNumeric(values)) return super.move(dataId, values, shape, dtype, refCount);
    const own = hostArray(values, dtype);
    const record = new StoredRecord(this, storage(own.length, dtype, shape, own === values ? own.slice() : own));
    record.refCount = refCount;
    this.data.set(dataId, record);
  }

  override readSync(dataId: object): Written {
    const record: unknown = this.data.get(dataId);
    return record instanceof StoredRecord ? record.values.slice() : super.readSync(dataId);
  }

  override async read(dataId: object): Promise<Written> {
    return this.readSync(dataId);
  }

  override disposeData(dataId: object, force = false): boolean {
    const record: unknown = this.data.has(dataId) ? this.data.get(dataId) : undefined;
    if (!(record instanceof StoredRecord)) return super.disposeData(dataId, force);
    record.refCount--;
    if (!force && record.refCount > 0) return false;
    this.recorder.release(record.storage);
    this.data.delete(dataId);
    return true;
  }

  override memory() {
    return { unreliable: false, reasons: [] };
  }

  override async time(f: () => void): Promise<{ kernelMs: number }> {
    this.flush();
    const before = this.statistics().runMilliseconds;
    f();
    this.flush();
    return { kernelMs: this.statistics().runMilliseconds - before };
  }

  override dispose(): void {
    this.clearGraphs();
    super.dispose();
  }

  private hold(s: Storage): object {
    const dataId = {};
    this.data.set(dataId, new StoredRecord(this, s));
    return dataId;
  }
}

const floats = (values: HostArray, x: tf.Tensor): Float32Array => {
  if (values instanceof Float32Array) return values;
  throw new OnnxBackendError(`an array of ${x.dtype} [${x.shape.join(', ')}] has no floats`);
};

/** Arrays of numbers or booleans; undefined and strings are the cpu backend's affair. */
const isNumeric = (values: unknown): values is ArrayLike<number | boolean> =>
  typeof values === 'object' && values !== null && 'length' in values && (values.length === 0 || !(Array.isArray(values) && (typeof values[0] === 'string' || values[0] instanceof Uint8Array)));
