import type { TensorInfo } from '@tensorflow/tfjs';
import type { HostArray, HostType } from './arrays.ts';
import type { GraphBuilder } from './builder.ts';
import type { Ragged } from './ragged.ts';
import type { Storage } from './storage.ts';

export interface Output {
  readonly shape: readonly number[];
  readonly dtype: HostType;
}

/**
 * What becomes of axis 0 where some inputs are ragged (see ragged.ts): 'each' computes entry by entry, inputs broadcast;
 * 'rows' computes every row from the same row of the ragged inputs and the whole of the others; 'all' leaves no such axis.
 * Nodes of the first two must not name its size.
 */
export type RowEffect = 'each' | 'rows' | 'all';

/** What a kernel computes, as ONNX nodes. Operations with equal `key` and equal input shapes and types emit the same nodes. */
export interface Operation {
  readonly key: string; // kernel and attributes
  readonly inputs: readonly TensorInfo[];
  readonly outputs: readonly Output[];
  emit(graph: GraphBuilder, inputs: readonly string[], outputs: readonly string[]): void;
  /** Multiply-adds, where they dominate. */
  readonly macs?: number;
  /** By which inputs are ragged; undefined where the operation mixes rows. Without it no input may be. */
  readonly rows?: (ragged: readonly boolean[]) => RowEffect | undefined;
  /** Of the outputs, for an operation that begins or ends what is ragged. */
  readonly ragged?: (inputs: readonly Storage[]) => Ragged | undefined;
  /** All rows of the result are equal. */
  readonly uniform?: boolean;
}

/** The same array under another shape: no operation at all. */
export interface Reshaped {
  readonly view: TensorInfo;
  readonly shape: readonly number[];
}

export type Attributes = Readonly<Record<string, unknown>>;

export interface KernelCall {
  readonly inputs: Readonly<Record<string, TensorInfo | undefined>>;
  readonly list: readonly TensorInfo[]; // the inputs of kernels that take any number
  readonly attrs: Attributes;
  /** Values of an input that are on the host already. */
  known(x: TensorInfo): HostArray | undefined;
}

/** A row of the emitter table: the operation, a view, or undefined where the cpu kernel must do it. */
export type Emitter = (call: KernelCall) => Operation | Reshaped | undefined;
export type EmitterTable = Readonly<Record<string, Emitter>>;
