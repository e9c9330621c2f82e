import type { TensorInfo } from '@tensorflow/tfjs';
import type { GraphBuilder } from '../builder.ts';
import type { Emitter, EmitterTable, KernelCall } from '../operation.ts';
import { RaggedError } from '../errors.ts';
import type { Ragged } from '../ragged.ts';
import type { Storage } from '../storage.ts';
import { numberOf } from './attributes.ts';
import { scattered } from './indexing.ts';

/*
 * Kernels of this backend alone: they send samples of a batch, whose number only the graph knows, through a part of a step.
 *   TakeSamples  x [B, ..], index [B], count [1] -> the samples index[:count]
 *   JoinSamples  parts, order [B] -> their samples in one list, then list[order]: [B, ..]
 *   PutSamples   y, index, count -> zeros [B, ..] with each sample of y added at its place: the transpose of TakeSamples
 *   PartOfSamples dy [B, ..], order, parts -> the samples of one part, zero where order leaves them out: the transpose of JoinSamples
 */

const restOf = (x: TensorInfo) => x.shape.slice(1);
const isInt = (x: TensorInfo | undefined): x is TensorInfo => x?.dtype === 'int32';

/** The first `count` entries of an index. */
const first = (g: GraphBuilder, index: string, count: string) => g.node('Slice', [index, g.ints([0]), g.cast(count, 'int64'), g.ints([0])]);
const opens = (samples: number) => ([x, , count]: readonly Storage[]): Ragged => {
  if (x!.ragged) throw new RaggedError('samples are taken from among some samples');
  return { group: count!, samples };
};
/** What a kernel gives that puts samples together: every part of it must be of some samples. */
const closes = (parts: (inputs: readonly Storage[]) => readonly Storage[]) => (inputs: readonly Storage[]): undefined => {
  if (parts(inputs).some((p) => !p.ragged)) throw new RaggedError('of the parts that are joined one is of all samples');
};

const take: Emitter = ({ inputs: { x, index, count } }) => {
  if (!x || !isInt(index) || !isInt(count) || x.dtype === 'bool') return undefined;
  return {
    key: 'TakeSamples', inputs: [x, index, count], outputs: [{ shape: x.shape, dtype: x.dtype as 'float32' | 'int32' }], ragged: opens(x.shape[0]!),
    emit: (g, [a, i, n], o) => g.into(o, 'Gather', [a!, first(g, i!, n!)], { axis: 0 }),
  };
};

const put: Emitter = ({ inputs: { y, index, count } }) => {
  if (y?.dtype !== 'float32' || !isInt(index) || !isInt(count)) return undefined;
  return {
    key: 'PutSamples', inputs: [y, index, count], outputs: [{ shape: y.shape, dtype: 'float32' }], ragged: closes(([rows]) => [rows!]),
    emit: (g, [rows, i, n], o) => {
      const at = g.node('Unsqueeze', [g.cast(first(g, i!, n!), 'int64'), g.ints([1])]);
      g.into(o, 'Identity', [scattered(g, g.ints(y.shape), at, rows!, 'float32')]);
    },
  };
};

/** Inputs part0, part1, ...: what a list of parts is passed as. */
const partsOf = ({ inputs }: KernelCall): TensorInfo[] => {
  const parts: TensorInfo[] = [];
  for (let x = inputs['part0']; x; x = inputs[`part${parts.length}`]) parts.push(x);
  return parts;
};

const join: Emitter = (call) => {
  const { order } = call.inputs;
  const parts = partsOf(call);
  if (!isInt(order) || parts.some((p) => p.dtype !== 'float32') || !parts.length) return undefined;
  return {
    key: `JoinSamples ${parts.length}`, inputs: [order, ...parts], outputs: [{ shape: [order.shape[0]!, ...restOf(parts[0]!)], dtype: 'float32' }], ragged: closes(([, ...rest]) => rest),
    emit: (g, [at, ...all], o) => g.into(o, 'Gather', [all.length > 1 ? g.node('Concat', all, { axis: 0 }) : all[0]!, at!], { axis: 0 }),
  };
};

const part: Emitter = (call) => {
  const { dy, order } = call.inputs;
  const parts = partsOf(call);
  if (dy?.dtype !== 'float32' || !isInt(order) || !parts.length) return undefined;
  const which = numberOf(call.attrs, 'part');
  const rest = restOf(dy);
  return {
    key: `PartOfSamples ${which} of ${parts.length}`, inputs: [dy, order, ...parts], outputs: [{ shape: parts[which]!.shape, dtype: 'float32' }],
    ragged: (inputs) => inputs[2 + which]!.ragged,
    emit: (g, [d, at, ...all], o) => {
      const lengths = all.map((p) => g.node('Shape', [p], { start: 0, end: 1 })); // [1] each, 64-bit
      const sum = (some: readonly string[]) => some.slice(1).reduce((a, b) => g.node('Add', [a, b]), some[0]!);
      const shape = g.node('Concat', [sum(lengths), g.ints(rest)], { axis: 0 });
      const positions = g.node('Unsqueeze', [g.cast(at!, 'int64'), g.ints([1])]);
      const whole = scattered(g, rest.length ? shape : sum(lengths), positions, d!, 'float32');
      const from = which === 0 ? g.ints([0]) : sum(lengths.slice(0, which));
      g.into(o, 'Slice', [whole, from, sum(lengths.slice(0, which + 1)), g.ints([0])]);
    },
  };
};

export const ragged: EmitterTable = { TakeSamples: take, PutSamples: put, JoinSamples: join, PartOfSamples: part };
