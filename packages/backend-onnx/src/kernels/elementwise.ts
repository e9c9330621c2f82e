import { backend_util, type TensorInfo } from '@tensorflow/tfjs';
import { isHostType, type HostType } from '../arrays.ts';
import type { GraphBuilder } from '../builder.ts';
import type { Emitter, EmitterTable } from '../operation.ts';
import { numberOf } from './attributes.ts';

type Emit = (g: GraphBuilder, inputs: readonly string[], outputs: readonly string[]) => void;

const each = () => 'each' as const;
const direct = (op: string): Emit => (g, i, o) => g.into(o, op, i);

/** One array in, one of the same shape out. Other element types than those named are left to the cpu kernel, whose rounding they follow. */
function unary(name: string, emit: Emit, types: readonly HostType[] = ['float32'], dtype?: HostType): Emitter {
  return ({ inputs: { x } }) => {
    if (!x || !accepts(types, x)) return undefined;
    return { key: name, inputs: [x], outputs: [{ shape: x.shape, dtype: dtype ?? x.dtype as HostType }], emit, rows: each };
  };
}

const accepts = (types: readonly HostType[], ...xs: readonly TensorInfo[]): boolean =>
  xs.every((x) => isHostType(x.dtype) && types.includes(x.dtype));

/** Two arrays of one element type, broadcast as in NumPy. */
function binary(name: string, emit: Emit, types: readonly HostType[] = ['float32', 'int32'], dtype?: HostType): Emitter {
  return ({ inputs: { a, b } }) => {
    if (!a || !b || a.dtype !== b.dtype || !accepts(types, a, b)) return undefined;
    const shape = backend_util.assertAndGetBroadcastShape(a.shape, b.shape);
    return { key: name, inputs: [a, b], outputs: [{ shape, dtype: dtype ?? a.dtype as HostType }], emit, rows: each };
  };
}

const ALL: readonly HostType[] = ['float32', 'int32', 'bool'];
const NUMBERS: readonly HostType[] = ['float32', 'int32'];

/** Kernels that ONNX has under a name of its own, for floats. */
const named = {
  Exp: 'Exp', Log: 'Log', Reciprocal: 'Reciprocal', Tanh: 'Tanh', Sigmoid: 'Sigmoid', Floor: 'Floor', Ceil: 'Ceil',
  Round: 'Round', Sin: 'Sin', Cos: 'Cos', Tan: 'Tan', Asin: 'Asin', Acos: 'Acos', Atan: 'Atan', Sinh: 'Sinh', Cosh: 'Cosh', Asinh: 'Asinh',
  Acosh: 'Acosh', Atanh: 'Atanh', Elu: 'Elu',
} as const;

/** x where it is not NaN, else NaN: ONNX Runtime's comparisons lose it. */
const keepNaN = (g: GraphBuilder, x: string, y: string, out: readonly string[]) => g.into(out, 'Where', [g.node('IsNaN', [x]), x, y]);

/** log(1 + x) without losing small x: log(u) x / (u - 1) with u = 1 + x, and x itself where u is 1 or infinite (Kahan). */
const log1p: Emit = (g, [x], out) => {
  const u = g.node('Add', [x!, g.float(1)]);
  const d = g.node('Sub', [u, g.float(1)]);
  const same = g.node('Or', [g.node('Equal', [d, g.float(0)]), g.node('IsInf', [x!], { detect_negative: 0 })]);
  g.into(out, 'Where', [same, x!, g.node('Mul', [g.node('Log', [u]), g.node('Div', [x!, d])])]);
};

/** The larger or smaller of two, NaN where either is, as Math.max: ONNX Runtime's own keeps NaN on one side only. Integers have none. */
function extreme(kernel: string, wins: 'Greater' | 'Less', onIntegers: 'Max' | 'Min'): Emitter {
  const floats = binary(kernel, (g, [a, b], out) => g.into(out, 'Where', [g.node('Or', [g.node(wins, [a!, b!]), g.node('IsNaN', [a!])]), a!, b!]), ['float32']);
  const ints = binary(kernel, direct(onIntegers), ['int32']);
  return (call) => floats(call) ?? ints(call);
}

/** The root of infinity is infinity: ONNX Runtime's vectorised root makes NaN of it. */
const sqrt: Emit = (g, [x], out) => g.into(out, 'Where', [g.node('Equal', [x!, g.float(Infinity)]), x!, g.node('Sqrt', [x!])]);

/** ReduceMax and friends aside, everything that maps arrays entry by entry. */
export const elementwise: EmitterTable = {
  ...Object.fromEntries(Object.entries(named).map(([kernel, op]) => [kernel, unary(kernel, direct(op))])),
  Abs: unary('Abs', direct('Abs'), NUMBERS),
  Neg: unary('Neg', direct('Neg'), NUMBERS),
  Sign: ({ inputs: { x } }) => {
    if (!x || !accepts(NUMBERS, x)) return undefined;
    const dtype = x.dtype as HostType; // accepted just above
    const emit: Emit = dtype === 'int32' ? direct('Sign') : (g, [a], o) => g.into(o, 'Where', [g.node('IsNaN', [a!]), g.float(0), g.node('Sign', [a!])]);
    return { key: `Sign ${dtype}`, inputs: [x], outputs: [{ shape: x.shape, dtype }], emit };
  },
  Square: unary('Square', (g, [x], o) => g.into(o, 'Mul', [x!, x!]), NUMBERS),
  Erf: unary('Erf', (g, [x], o) => keepNaN(g, x!, g.node('Erf', [x!]), o)),
  Sqrt: unary('Sqrt', sqrt),
  Rsqrt: unary('Rsqrt', (g, i, o) => {
    const root = `${o[0]}r`;
    sqrt(g, i, [root]);
    g.into(o, 'Reciprocal', [root]);
  }),
  Relu: unary('Relu', (g, [x], o) => keepNaN(g, x!, g.node('Relu', [x!]), o)),
  Relu6: unary('Relu6', (g, [x], o) => keepNaN(g, x!, g.node('Clip', [x!, g.float(0), g.float(6)]), o)),
  Softplus: unary('Softplus', direct('Softplus')),
  Selu: unary('Selu', (g, i, o) => g.into(o, 'Selu', i, { alpha: { float: backend_util.SELU_SCALEALPHA / backend_util.SELU_SCALE }, gamma: { float: backend_util.SELU_SCALE } })),
  Log1p: unary('Log1p', log1p),
  LogicalNot: unary('LogicalNot', direct('Not'), ['bool']),
  IsNan: unary('IsNan', direct('IsNaN'), ['float32'], 'bool'),
  IsInf: unary('IsInf', direct('IsInf'), ['float32'], 'bool'),
  IsFinite: unary('IsFinite', (g, [x], o) => g.into(o, 'Not', [g.node('Or', [g.node('IsNaN', [x!]), g.node('IsInf', [x!])])]), ['float32'], 'bool'),
  LeakyRelu: ({ inputs: { x }, attrs }) => {
    if (!x || x.dtype !== 'float32') return undefined;
    const alpha = numberOf(attrs, 'alpha');
    return { key: `LeakyRelu ${alpha}`, inputs: [x], outputs: [{ shape: x.shape, dtype: 'float32' }], emit: (g, i, o) => g.into(o, 'LeakyRelu', i, { alpha: { float: alpha } }) };
  },
  Prelu: ({ inputs: { x, alpha } }) => {
    if (!x || !alpha || !accepts(['float32'], x, alpha)) return undefined;
    return {
      key: 'Prelu', inputs: [x, alpha], outputs: [{ shape: backend_util.assertAndGetBroadcastShape(x.shape, alpha.shape), dtype: 'float32' }],
      emit: (g, [a, b], o) => g.into(o, 'Where', [g.node('Less', [a!, g.float(0)]), g.node('Mul', [a!, b!]), a!]),
    };
  },
  Step: ({ inputs: { x }, attrs }) => {
    if (!x || x.dtype !== 'float32') return undefined;
    const alpha = numberOf(attrs, 'alpha');
    return {
      key: `Step ${alpha}`, inputs: [x], outputs: [{ shape: x.shape, dtype: 'float32' }], rows: each,
      emit: (g, [a], o) => keepNaN(g, a!, g.node('Where', [g.node('Greater', [a!, g.float(0)]), g.float(1), g.float(alpha)]), o),
    };
  },
  ClipByValue: ({ inputs: { x }, attrs }) => {
    if (!x || x.dtype !== 'float32') return undefined;
    const [min, max] = [numberOf(attrs, 'clipValueMin'), numberOf(attrs, 'clipValueMax')];
    return {
      key: `ClipByValue ${min} ${max}`, inputs: [x], outputs: [{ shape: x.shape, dtype: 'float32' }], rows: each,
      emit: (g, [a], o) => keepNaN(g, a!, g.node('Clip', [a!, g.float(min), g.float(max)]), o),
    };
  },

  Add: binary('Add', direct('Add')),
  Sub: binary('Sub', direct('Sub')),
  Multiply: binary('Multiply', direct('Mul')),
  RealDiv: binary('RealDiv', direct('Div'), ['float32']),
  Pow: binary('Pow', direct('Pow'), ['float32']),
  Maximum: extreme('Maximum', 'Greater', 'Max'),
  Minimum: extreme('Minimum', 'Less', 'Min'),
  SquaredDifference: binary('SquaredDifference', (g, i, o) => {
    const d = g.node('Sub', i);
    g.into(o, 'Mul', [d, d]);
  }),
  Equal: binary('Equal', direct('Equal'), ALL, 'bool'),
  NotEqual: binary('NotEqual', (g, i, o) => g.into(o, 'Not', [g.node('Equal', i)]), ALL, 'bool'),
  Greater: binary('Greater', direct('Greater'), NUMBERS, 'bool'),
  GreaterEqual: binary('GreaterEqual', direct('GreaterOrEqual'), NUMBERS, 'bool'),
  Less: binary('Less', direct('Less'), NUMBERS, 'bool'),
  LessEqual: binary('LessEqual', direct('LessOrEqual'), NUMBERS, 'bool'),
  LogicalAnd: binary('LogicalAnd', direct('And'), ['bool'], 'bool'),
  LogicalOr: binary('LogicalOr', direct('Or'), ['bool'], 'bool'),

  EluGrad: ({ inputs: { dy, y } }) => {
    if (!dy || !y || !accepts(['float32'], dy, y)) return undefined;
    return {
      key: 'EluGrad', inputs: [dy, y], outputs: [{ shape: y.shape, dtype: 'float32' }],
      emit: (g, [d, v], o) => g.into(o, 'Where', [g.node('GreaterOrEqual', [v!, g.float(0)]), d!, g.node('Mul', [d!, g.node('Add', [v!, g.float(1)])])]),
    };
  },
  AddN: ({ list }) => {
    const [first] = list;
    if (!first || !accepts(NUMBERS, ...list) || list.some((x) => x.dtype !== first.dtype)) return undefined;
    const dtype = first.dtype as HostType; // accepted just above
    return {
      key: `AddN ${list.length} ${dtype}`, inputs: list, outputs: [{ shape: first.shape, dtype }], rows: each,
      emit: (g, i, o) => {
        if (i.length === 1) g.into(o, 'Identity', i);
        else if (dtype === 'float32') g.into(o, 'Sum', i);
        else g.into(o, 'Add', [i.slice(1, -1).reduce((sum, x) => g.node('Add', [sum, x]), i[0]!), i.at(-1)!]);
      },
    };
  },
  Select: ({ inputs: { condition, t, e } }) => {
    if (!condition || !t || !e || t.dtype !== e.dtype || !accepts(NUMBERS, t, e) || condition.shape.length !== t.shape.length) return undefined;
    return { key: 'Select', inputs: [condition, t, e], outputs: [{ shape: t.shape, dtype: t.dtype as HostType }], emit: direct('Where'), rows: each };
  },
};
