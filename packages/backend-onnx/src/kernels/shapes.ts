import { backend_util, slice_util, util, type TensorInfo } from '@tensorflow/tfjs';
import { isHostType, sizeOf, type HostType } from '../arrays.ts';
import type { GraphBuilder } from '../builder.ts';
import type { Emitter, EmitterTable, Operation } from '../operation.ts';
import { axesOf, numberOf, numbersOf } from './attributes.ts';

const hostType = (x: TensorInfo | undefined): HostType | undefined => (x && isHostType(x.dtype) ? x.dtype : undefined);

/** ONNX Runtime moves floats and integers in every operator of this file, booleans only in some: they travel as integers elsewhere. */
function moved(x: TensorInfo, key: string, shape: readonly number[], emit: Operation['emit'], keepsRows = false): Operation {
  const dtype = hostType(x)!;
  return { key: `${key} ${dtype}`, inputs: [x], outputs: [{ shape, dtype }], emit: dtype === 'bool' ? asIntegers(emit) : emit, ...(keepsRows && { rows: () => 'rows' as const }) };
}

const asIntegers = (emit: Operation['emit']): Operation['emit'] => (g, inputs, outputs) => {
  const inner = outputs.map((o) => `${o}i`);
  emit(g, inputs.map((x) => g.cast(x, 'int32')), inner);
  outputs.forEach((o, i) => g.into([o], 'Cast', [inner[i]!], { to: 9 }));
};

const identity: Emitter = ({ inputs: { x } }) => (hostType(x) ? { view: x!, shape: x!.shape } : undefined);

const reshape: Emitter = ({ inputs: { x }, attrs }) => {
  if (!hostType(x)) return undefined;
  const shape = util.inferFromImplicitShape(numbersOf(attrs, 'shape'), sizeOf(x!.shape));
  if (sizeOf(shape) !== sizeOf(x!.shape)) throw new Error(`reshape: [${x!.shape.join(', ')}] has ${sizeOf(x!.shape)} entries, [${shape.join(', ')}] has ${sizeOf(shape)}`);
  return { view: x!, shape };
};

const expandDims: Emitter = ({ inputs: { input }, attrs }) => {
  if (!hostType(input)) return undefined;
  const dim = numberOf(attrs, 'dim');
  const shape = [...input!.shape];
  util.assert(dim >= -(shape.length + 1), () => `Axis must be in the interval [${-(shape.length + 1)}, ${shape.length}], not ${dim}`);
  shape.splice(dim < 0 ? dim + shape.length + 1 : dim, 0, 1);
  return { view: input!, shape };
};

const transpose: Emitter = ({ inputs: { x }, attrs }) => {
  if (!hostType(x)) return undefined;
  const perm = numbersOf(attrs, 'perm');
  return moved(x!, `Transpose ${perm.join()}`, perm.map((p) => x!.shape[p]!), (g, i, o) => g.into(o, 'Transpose', i, { perm }), perm[0] === 0);
};

/** From `begin` to `end` (exclusive) by `steps`, along every axis. */
const sliced = (g: GraphBuilder, x: string, out: readonly string[], begin: readonly number[], end: readonly number[], steps?: readonly number[]): void =>
  g.into(out, 'Slice', [x, g.ints(begin), g.ints(end), g.ints(begin.map((_, i) => i)), ...(steps ? [g.ints(steps)] : [])]);

function sliceOf(x: TensorInfo, begin: readonly number[], size: readonly number[]): Operation {
  const end = begin.map((b, i) => b + size[i]!);
  return moved(x, `Slice ${begin.join()} ${size.join()}`, size, (g, [a], o) => sliced(g, a!, o, begin, end), begin[0] === 0 && size[0] === x.shape[0]);
}

const slice: Emitter = ({ inputs: { x }, attrs }) => {
  if (!hostType(x) || !x!.shape.length) return undefined;
  const [begin, size] = slice_util.parseSliceParams(x!, axesOf(attrs, 'begin') ?? 0, axesOf(attrs, 'size'));
  slice_util.assertParamsValid(ranked(x!), begin!, size!);
  return sliceOf(x!, begin!, size!);
};

/** tfjs's check asks for a tensor and reads its shape and rank. */
const ranked = (x: TensorInfo) => ({ ...x, rank: x.shape.length });

const stridedSlice: Emitter = ({ inputs: { x }, attrs }) => {
  if (!hostType(x)) return undefined;
  const mask = (name: string) => numberOf(attrs, name);
  const { begin, end, strides, finalShapeSparse, finalShape, isIdentity } = slice_util.sliceInfo(
    x!.shape, numbersOf(attrs, 'begin'), numbersOf(attrs, 'end'), numbersOf(attrs, 'strides'),
    mask('beginMask'), mask('endMask'), mask('ellipsisMask'), mask('newAxisMask'), mask('shrinkAxisMask'),
  );
  if (isIdentity) return { view: x!, shape: finalShape };
  if (finalShapeSparse.some((d) => d === 0) || !x!.shape.length) return undefined;
  // Going backwards past the first entry: ONNX counts a negative end from the back.
  const last = end.map((e, i) => (strides[i]! < 0 && e < 0 ? -(2 ** 31) : e));
  return moved(x!, `StridedSlice ${begin.join()} ${last.join()} ${strides.join()} ${finalShape.join()}`, finalShape, (g, [a], o) => {
    const cut = `${o[0]}c`;
    sliced(g, a!, [cut], begin, last, strides);
    g.into(o, 'Reshape', [cut, g.ints(finalShape)]);
  });
};

const reverse: Emitter = ({ inputs: { x }, attrs }) => {
  if (!hostType(x)) return undefined;
  const axes = util.parseAxisParam(axesOf(attrs, 'dims') ?? x!.shape.map((_, i) => i), x!.shape);
  if (!axes.length || !x!.shape.length) return { view: x!, shape: x!.shape };
  const all = (n: number) => axes.map(() => n);
  return moved(x!, `Reverse ${axes.join()}`, x!.shape, (g, [a], o) =>
    g.into(o, 'Slice', [a!, g.ints(all(-1)), g.ints(all(-(2 ** 31))), g.ints(axes), g.ints(all(-1))]));
};

const concat: Emitter = ({ list, attrs }) => {
  const [first] = list;
  const dtype = hostType(first);
  if (!first || !dtype || list.some((x) => x.dtype !== dtype)) return undefined;
  const [axis = 0] = util.parseAxisParam(axesOf(attrs, 'axis') ?? 0, first.shape);
  const given = list.map((x) => x.shape);
  backend_util.assertParamsConsistent(given, axis);
  const shape = backend_util.computeOutShape(given, axis);
  const full = list.filter((x) => sizeOf(x.shape) > 0);
  if (!full.length) return undefined;
  if (full.length === 1) return { view: full[0]!, shape };
  return { key: `Concat ${axis} ${full.length}`, inputs: full, outputs: [{ shape, dtype }], emit: (g, i, o) => g.into(o, 'Concat', i, { axis }), rows: (ragged) => (axis !== 0 && ragged.every(Boolean) ? 'rows' : undefined) };
};

const pack: Emitter = ({ list, attrs }) => {
  const [first] = list;
  const dtype = hostType(first);
  if (!first || !dtype || list.some((x) => x.dtype !== dtype)) return undefined;
  for (const x of list) util.assertShapesMatch(first.shape, x.shape, 'All tensors passed to stack must have matching shapes: ');
  const axis = numberOf(attrs, 'axis');
  const at = axis < 0 ? axis + first.shape.length + 1 : axis;
  const shape = [...first.shape];
  shape.splice(at, 0, list.length);
  return {
    key: `Pack ${at} ${list.length}`, inputs: list, outputs: [{ shape, dtype }],
    emit: (g, i, o) => g.into(o, 'Concat', i.map((x) => g.node('Unsqueeze', [x, g.ints([at])])), { axis: at }),
  };
};

function splitInto(x: TensorInfo, axis: number, sizes: readonly number[], key: string, shapeOf: (size: number) => number[]): Operation {
  const dtype = hostType(x)!;
  const emit: Operation['emit'] = (g, i, o) => {
    const parts = o.map((name) => `${name}p`);
    g.into(parts, 'Split', [i[0]!, g.ints(sizes)], { axis });
    o.forEach((name, j) => g.into([name], 'Reshape', [parts[j]!, g.ints(shapeOf(sizes[j]!))]));
  };
  return {
    key: `${key} ${axis} ${sizes.join()} ${dtype}`, inputs: [x], outputs: sizes.map((n) => ({ shape: shapeOf(n), dtype })),
    emit: dtype === 'bool' ? asIntegers(emit) : emit,
  };
}

const splitV: Emitter = ({ inputs: { x }, attrs }) => {
  if (!hostType(x)) return undefined;
  const [axis = 0] = util.parseAxisParam(axesOf(attrs, 'axis') ?? 0, x!.shape);
  const given = axesOf(attrs, 'numOrSizeSplits') ?? 1;
  const sizes = backend_util.prepareSplitSize(parsedTensor(x!), given, axis);
  if (sizes.includes(0)) return undefined;
  return splitInto(x!, axis, sizes, 'SplitV', (n) => x!.shape.map((d, i) => (i === axis ? n : d)));
};
const parsedTensor = (x: TensorInfo) => ({ shape: x.shape }) as Parameters<typeof backend_util.prepareSplitSize>[0]; // it reads the shape

const unpack: Emitter = ({ inputs: { value }, attrs }) => {
  if (!hostType(value)) return undefined;
  const axis = numberOf(attrs, 'axis');
  const at = axis < 0 ? axis + value!.shape.length : axis;
  const rest = value!.shape.filter((_, i) => i !== at);
  return splitInto(value!, at, Array.from({ length: value!.shape[at]! }, () => 1), 'Unpack', () => rest);
};

const tile: Emitter = ({ inputs: { x }, attrs }) => {
  if (!hostType(x)) return undefined;
  const reps = numbersOf(attrs, 'reps');
  if (!x!.shape.length || reps.includes(0)) return undefined;
  return moved(x!, `Tile ${reps.join()}`, x!.shape.map((d, i) => d * reps[i]!), (g, [a], o) => g.into(o, 'Tile', [a!, g.ints(reps)]), reps[0] === 1);
};

const pad: Emitter = ({ inputs: { x }, attrs: { paddings, constantValue } }) => {
  if (!x || (x.dtype !== 'float32' && x.dtype !== 'int32') || !x.shape.length || typeof constantValue !== 'number') return undefined;
  if (!Array.isArray(paddings)) return undefined;
  const { dtype } = x;
  const pairs = paddings.map((p: unknown) => (Array.isArray(p) ? [Number(p[0]), Number(p[1])] : [0, 0])) as [number, number][]; // two numbers each, just made
  return {
    key: `PadV2 ${pairs.join()} ${constantValue} ${dtype}`, inputs: [x], outputs: [{ shape: x.shape.map((d, i) => d + pairs[i]![0] + pairs[i]![1]), dtype }],
    emit: (g, [a], o) => g.into(o, 'Pad', [a!, g.ints([...pairs.map((p) => p[0]), ...pairs.map((p) => p[1])]), g.scalar(constantValue, dtype)]),
  };
};

export const shapes: EmitterTable = {
  Identity: identity, Reshape: reshape, ExpandDims: expandDims, Transpose: transpose, Slice: slice, StridedSlice: stridedSlice, Reverse: reverse,
  Concat: concat, Pack: pack, SplitV: splitV, Unpack: unpack, Tile: tile, PadV2: pad,
};
