import type { TensorInfo } from '@tensorflow/tfjs';
import type { HostArray, HostType } from './arrays.ts';
import type { GraphBuilder } from './builder.ts';

export interface Output {
  readonly shape: readonly number[];
  readonly dtype: HostType;
}

/** What a kernel computes, as ONNX nodes. Operations with equal `key` and equal input shapes and types emit the same nodes. */
export interface Operation {
  readonly key: string; // kernel and attributes
  readonly inputs: readonly TensorInfo[];
  readonly outputs: readonly Output[];
  emit(graph: GraphBuilder, inputs: readonly string[], outputs: readonly string[]): void;
  /** Multiply-adds, where they dominate. */
  readonly macs?: number;
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
