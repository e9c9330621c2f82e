import { gather_util, util, type TensorInfo } from '@tensorflow/tfjs';
import { isHostType, sizeOf, type HostType } from '../arrays.ts';
import type { GraphBuilder } from '../builder.ts';
import type { Emitter, EmitterTable, KernelCall } from '../operation.ts';
import { axesOf, numberOf, numbersOf } from './attributes.ts';

/*
 * ONNX counts negative positions from the back, tfjs refuses them: where the values are at hand they are checked.
 */

function requireWithin(call: KernelCall, indices: TensorInfo, bound: number): void {
  const values = call.known(indices);
  const wrong = values?.findIndex((i) => i < 0 || i >= bound) ?? -1;
  if (values && wrong >= 0) throw new Error(`GatherV2: the index value ${values[wrong]} is not in [0, ${bound - 1}] (position ${wrong})`);
}

/** Rows of positions, one per leading axis of `shape`. */
function requireRowsWithin(call: KernelCall, indices: TensorInfo, shape: readonly number[], kernel: string): void {
  const values = call.known(indices);
  const depth = indices.shape.at(-1) ?? 1;
  const wrong = values?.findIndex((at, i) => at < 0 || at >= shape[i % depth]!) ?? -1;
  if (!values || wrong < 0) return;
  const row = Math.floor(wrong / depth);
  throw new Error(`${kernel}: Invalid indices: ${values.subarray(row * depth, (row + 1) * depth).join()} (row ${row}) does not index into ${shape.join()}`);
}

const gather: Emitter = (call) => {
  const { inputs: { x, indices }, attrs } = call;
  if (!x || !indices || !isHostType(x.dtype) || indices.dtype !== 'int32' || attrs['batchDims']) return undefined;
  const [axis = 0] = util.parseAxisParam(axesOf(attrs, 'axis') ?? 0, x.shape);
  requireWithin(call, indices, x.shape[axis]!);
  return {
    key: `GatherV2 ${axis}`, inputs: [x, indices], outputs: [{ shape: [...x.shape.slice(0, axis), ...indices.shape, ...x.shape.slice(axis + 1)], dtype: x.dtype }],
    emit: (g, i, o) => g.into(o, 'Gather', i, { axis }),
    rows: ([ofX, ofIndices]) => (ofX !== ofIndices && (axis === 0) === ofIndices ? 'rows' : undefined),
  };
};

/** zeros(shape) with rows added at 64-bit positions [N, K]. */
export function scattered(g: GraphBuilder, shape: string, positions: string, rows: string, type: 'float32' | 'int32'): string {
  const value = { dims: [1], type, data: type === 'float32' ? Float32Array.of(0) : Int32Array.of(0) };
  return g.node('ScatterND', [g.node('ConstantOfShape', [shape], { value }), positions, rows], { reduction: 'add' });
}

const scatterNd: Emitter = (call) => {
  const { inputs: { indices, updates }, attrs } = call;
  if (!indices || !updates || updates.dtype !== 'float32' || indices.dtype !== 'int32' || indices.shape.length < 2) return undefined;
  const shape = numbersOf(attrs, 'shape');
  const depth = indices.shape.at(-1)!;
  if (!depth || !shape.length || !sizeOf(shape)) return undefined;
  requireRowsWithin(call, indices, shape, 'ScatterNd');
  return {
    key: `ScatterNd ${shape.join()}`, inputs: [indices, updates], outputs: [{ shape, dtype: 'float32' }],
    emit: (g, [at, rows], o) => g.into(o, 'Identity', [scattered(g, g.ints(shape), g.cast(at!, 'int64'), rows!, 'float32')]),
  };
};

const gatherNd: Emitter = (call) => {
  const { params, indices } = call.inputs;
  if (!params || !indices || (params.dtype !== 'float32' && params.dtype !== 'int32') || indices.dtype !== 'int32') return undefined;
  const [shape] = gather_util.prepareAndValidate(params, indices);
  if (!indices.shape.at(-1)) return undefined;
  requireRowsWithin(call, indices, params.shape, 'GatherNd');
  return {
    key: 'GatherNd', inputs: [params, indices], outputs: [{ shape, dtype: params.dtype }],
    emit: (g, [x, at], o) => g.into(o, 'GatherND', [x!, g.cast(at!, 'int64')]),
  };
};

/** Rows with an id outside of [0, numSegments) are dropped, as cpu does: they go into one more row, which is cut off. */
const unsortedSegmentSum: Emitter = ({ inputs: { x, segmentIds }, attrs }) => {
  if (!x || !segmentIds || x.dtype !== 'float32' || segmentIds.dtype !== 'int32' || segmentIds.shape.length !== 1) return undefined;
  const segments = numberOf(attrs, 'numSegments');
  if (segments < 1) return undefined;
  util.assert(segmentIds.shape[0] === x.shape[0], () => `UnsortedSegmentSum: ${segmentIds.shape[0]} segment ids for ${x.shape[0]} rows`);
  const rest = x.shape.slice(1);
  return {
    key: `UnsortedSegmentSum ${segments} ${rest.join()}`, inputs: [x, segmentIds], outputs: [{ shape: [segments, ...rest], dtype: 'float32' }],
    emit: (g, [rows, ids], o) => {
      const n = g.scalar(segments, 'int32');
      const outside = g.node('Or', [g.node('Less', [ids!, g.scalar(0, 'int32')]), g.node('GreaterOrEqual', [ids!, n])]);
      const at = g.node('Unsqueeze', [g.cast(g.node('Where', [outside, n, ids!]), 'int64'), g.ints([1])]);
      g.into(o, 'Slice', [scattered(g, g.ints([segments + 1, ...rest]), at, rows!, 'float32'), g.ints([0]), g.ints([segments]), g.ints([0])]);
    },
  };
};

/** A negative index is "off everywhere", as one that is too large; ONNX would count it from the back. */
const oneHot: Emitter = ({ inputs: { indices }, attrs }) => {
  const { dtype = 'int32' } = attrs;
  if (!indices || indices.dtype !== 'int32' || typeof dtype !== 'string' || !isHostType(dtype)) return undefined;
  const [depth, on, off] = [numberOf(attrs, 'depth'), numberOf(attrs, 'onValue'), numberOf(attrs, 'offValue')];
  if (depth < 1) return undefined;
  return {
    key: `OneHot ${depth} ${on} ${off} ${dtype}`, inputs: [indices], outputs: [{ shape: [...indices.shape, depth], dtype }],
    emit: (g, [i], o) => {
      const scalar = indices.shape.length === 0; // ONNX has no one-hot of a scalar
      const at = scalar ? g.node('Unsqueeze', [i!, g.ints([0])]) : i!;
      const size = g.constant({ type: 'int32', dims: [1], data: Int32Array.of(depth) });
      const inside = g.node('Where', [g.node('Less', [at, g.scalar(0, 'int32')]), g.scalar(depth, 'int32'), at]);
      const values = g.constant({ type: 'float32', dims: [2], data: Float32Array.of(off, on) });
      // Floats are the one element type that ONNX Runtime has with 32-bit indices.
      const rows = g.node('OneHot', [inside, size, values], { axis: -1 });
      const typed = dtype === 'float32' ? rows : g.cast(rows, dtype);
      if (scalar) g.into(o, 'Squeeze', [typed, g.ints([0])]);
      else g.into(o, 'Identity', [typed]);
    },
  };
};

/** A constant array of 0 or 1. Others are written by the cpu kernel: a value that changes from step to step would be another graph each time. */
function filled(shape: readonly number[], value: number, dtype: HostType): ReturnType<Emitter> {
  if (!sizeOf(shape) || (value !== 0 && value !== 1)) return undefined;
  return {
    key: `Fill ${shape.join()} ${value} ${dtype}`, inputs: [], outputs: [{ shape, dtype }], uniform: true,
    emit: (g, _, o) => {
      const type = dtype === 'float32' ? 'float32' : 'int32';
      const data = type === 'float32' ? Float32Array.of(value) : Int32Array.of(value);
      if (dtype !== 'bool') g.into(o, 'ConstantOfShape', [g.ints(shape)], { value: { dims: [1], type, data } });
      else g.into(o, 'Cast', [g.node('ConstantOfShape', [g.ints(shape)], { value: { dims: [1], type, data } })], { to: 9 });
    },
  };
}

const fill: Emitter = ({ attrs }) => {
  const { value, dtype = typeof value === 'boolean' ? 'bool' : 'float32' } = attrs;
  if (typeof dtype !== 'string' || !isHostType(dtype) || typeof value === 'string') return undefined;
  return filled(numbersOf(attrs, 'shape'), Number(value), dtype);
};
const like = (value: number): Emitter => ({ inputs: { x } }) => (x && isHostType(x.dtype) ? filled(x.shape, value, x.dtype) : undefined);

export const indexing: EmitterTable = {
  GatherV2: gather, GatherNd: gatherNd, ScatterNd: scatterNd, UnsortedSegmentSum: unsortedSegmentSum, OneHot: oneHot, Fill: fill,
  ZerosLike: like(0), OnesLike: like(1),
};
