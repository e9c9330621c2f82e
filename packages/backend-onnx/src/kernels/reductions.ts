import { backend_util, util, type TensorInfo } from '@tensorflow/tfjs';
import type { HostType } from '../arrays.ts';
import type { GraphBuilder } from '../builder.ts';
import type { Attributes, Emitter, EmitterTable } from '../operation.ts';
import { axesOf, booleanOf } from './attributes.ts';

/** Axes to reduce, ascending, and the shape of the result. */
function reduced(x: TensorInfo, attrs: Attributes, name: string): { axes: number[]; shape: number[]; keep: boolean } {
  const axes = util.parseAxisParam(axesOf(attrs, name) ?? x.shape.map((_, i) => i), x.shape).sort((a, b) => a - b);
  const [shape] = backend_util.computeOutAndReduceShapes(x.shape, axes);
  const keep = booleanOf(attrs, 'keepDims');
  return { axes, keep, shape: keep ? backend_util.expandShapeToKeepDim(shape, axes) : shape };
}

interface Reduction {
  readonly op: string;
  readonly attribute?: string; // default 'axis'
  readonly types: readonly HostType[];
  /** Element type of the result. */
  readonly result?: (x: HostType) => HostType;
  /** Element type in which it is computed. */
  readonly inner?: (x: HostType) => HostType;
}

function reduction(kernel: string, { op, attribute = 'axis', types, result = (t) => t, inner = (t) => t }: Reduction): Emitter {
  return ({ inputs: { x }, attrs }) => {
    const from = x && types.find((t) => t === x.dtype);
    if (!x || !from) return undefined;
    const { axes, keep, shape } = reduced(x, attrs, attribute);
    const dtype = result(from);
    return {
      key: `${kernel} ${from} ${axes.join()} ${keep}`,
      // A mean over rows divides by how many the shape says.
      rows: () => (!axes.includes(0) ? 'rows' : op === 'ReduceMean' || axes.length === 0 ? undefined : 'all'),
      inputs: [x],
      outputs: [{ shape, dtype }],
      emit: (g, [input], out) => {
        const within = inner(from);
        const at = within === from ? input! : g.cast(input!, within);
        if (!axes.length) return within === dtype ? g.into(out, 'Identity', [at]) : g.into(out, 'Cast', [at], { to: element(dtype) });
        const settings = { keepdims: keep ? 1 : 0 };
        if (within !== dtype) g.into(out, 'Cast', [g.node(op, [at, g.ints(axes)], settings)], { to: element(dtype) });
        else if (from === 'float32' && losesNaN.has(op)) withNaN(g, out, op, at, axes, settings);
        else g.into(out, op, [at, g.ints(axes)], settings);
      },
    };
  };
}

const losesNaN: ReadonlySet<string> = new Set(['ReduceMax', 'ReduceMin']);

/** NaN where any entry is. */
function withNaN(g: GraphBuilder, out: readonly string[], op: string, x: string, axes: readonly number[], settings: { readonly keepdims: number }): void {
  const all = g.ints(axes);
  const marks = g.node('ReduceMax', [g.cast(g.node('IsNaN', [x]), 'float32'), all], settings);
  g.into(out, 'Where', [g.node('Greater', [marks, g.float(0)]), g.float(NaN), g.node(op, [x, all], settings)]);
}

const element = (t: HostType): number => ({ float32: 1, int32: 6, bool: 9 })[t];

const asInt = (t: HostType): HostType => (t === 'bool' ? 'int32' : t);
const int = (): HostType => 'int32';
const float = (): HostType => 'float32';

/** Position of the largest or smallest entry; the first of equals. */
function position(kernel: string, op: 'ArgMax' | 'ArgMin'): Emitter {
  return ({ inputs: { x }, attrs }) => {
    if (!x || x.dtype !== 'float32') return undefined;
    const [axis = 0] = util.parseAxisParam(axesOf(attrs, 'axis') ?? 0, x.shape);
    return {
      key: `${kernel} ${axis}`, inputs: [x], outputs: [{ shape: x.shape.filter((_, i) => i !== axis), dtype: 'int32' }],
      rows: () => (axis === 0 ? undefined : 'rows'),
      emit: (g, i, o) => g.into(o, 'Cast', [g.node(op, i, { axis, keepdims: 0 })], { to: 6 }),
    };
  };
}

const cumsum: Emitter = ({ inputs: { x }, attrs }) => {
  if (!x || (x.dtype !== 'float32' && x.dtype !== 'int32')) return undefined;
  const [axis = 0] = util.parseAxisParam(axesOf(attrs, 'axis') ?? 0, x.shape);
  const [exclusive, reverse] = [booleanOf(attrs, 'exclusive'), booleanOf(attrs, 'reverse')];
  return {
    key: `Cumsum ${axis} ${exclusive} ${reverse}`, inputs: [x], outputs: [{ shape: x.shape, dtype: x.dtype }],
    emit: (g, [a], o) => g.into(o, 'CumSum', [a!, g.constant({ type: 'int32', dims: [], data: Int32Array.of(axis) })], { exclusive: exclusive ? 1 : 0, reverse: reverse ? 1 : 0 }),
  };
};

const softmax: Emitter = ({ inputs: { logits }, attrs }) => {
  if (!logits || logits.dtype !== 'float32') return undefined;
  const dim = axesOf(attrs, 'dim') ?? -1;
  const axis = typeof dim === 'number' ? dim : -1;
  const first = axis === 0 || axis === -logits.shape.length;
  return { rows: () => (first ? undefined : 'rows'), key: `Softmax ${axis}`, inputs: [logits], outputs: [{ shape: logits.shape, dtype: 'float32' }], emit: (g, i, o) => g.into(o, 'Softmax', i, { axis }) };
};

export const reductions: EmitterTable = {
  Sum: reduction('Sum', { op: 'ReduceSum', types: ['float32', 'int32', 'bool'], inner: asInt, result: asInt }),
  Mean: reduction('Mean', { op: 'ReduceMean', types: ['float32', 'int32', 'bool'], inner: float, result: float }),
  Max: reduction('Max', { op: 'ReduceMax', attribute: 'reductionIndices', types: ['float32', 'int32'] }),
  Min: reduction('Min', { op: 'ReduceMin', types: ['float32', 'int32'] }),
  Prod: reduction('Prod', { op: 'ReduceProd', types: ['float32', 'int32'] }),
  All: reduction('All', { op: 'ReduceMin', types: ['bool'], inner: int, result: (t) => t }),
  Any: reduction('Any', { op: 'ReduceMax', types: ['bool'], inner: int, result: (t) => t }),
  ArgMax: position('ArgMax', 'ArgMax'),
  ArgMin: position('ArgMin', 'ArgMin'),
  Cumsum: cumsum,
  Softmax: softmax,
};
