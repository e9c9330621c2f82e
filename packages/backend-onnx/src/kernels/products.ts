import { backend_util, type TensorInfo } from '@tensorflow/tfjs';
import { sizeOf } from '../arrays.ts';
import type { GraphBuilder } from '../builder.ts';
import type { Emitter, EmitterTable, RowEffect } from '../operation.ts';
import { booleanOf } from './attributes.ts';

interface Product {
  readonly shape: number[];
  readonly macs: number;
  readonly key: string;
  rows(ragged: readonly boolean[]): RowEffect | undefined;
  emit(g: GraphBuilder, a: string, b: string, outputs: readonly string[]): void;
}

/** op(a) op(b) over the last two axes, where op may transpose; leading axes broadcast. */
function product(a: TensorInfo, b: TensorInfo, transposeA: boolean, transposeB: boolean): Product | undefined {
  if (a.dtype !== 'float32' || b.dtype !== 'float32') return undefined;
  const factors = `[${a.shape.join(', ')}]${transposeA ? ' transposed' : ''} and [${b.shape.join(', ')}]${transposeB ? ' transposed' : ''}`;
  if (a.shape.length < 2 || b.shape.length < 2) throw new Error(`Error in matMul: ${factors} must have rank 2 or more`);
  const [m, k] = pair(a, transposeA);
  const [inner, n] = pair(b, transposeB);
  if (k !== inner) throw new Error(`Error in matMul: inner shapes (${k}) and (${inner}) of ${factors} must match`);
  const lead = backend_util.assertAndGetBroadcastShape(a.shape.slice(0, -2), b.shape.slice(0, -2));
  const flags = { transA: transposeA ? 1 : 0, transB: transposeB ? 1 : 0 };
  return {
    shape: [...lead, m, n], macs: sizeOf(lead) * m * k * n, key: `${flags.transA}${flags.transB}`,
    rows: ([ofA, ofB]) => rowsOf(a, b, ofA === true, ofB === true, transposeA, transposeB),
    emit: (g, x, y, out) => (transposeA || transposeB ? g.into(out, 'FusedMatMul', [x, y], flags, 'com.microsoft') : g.into(out, 'MatMul', [x, y])),
  };
}

/** Rows of a matrix are its first axis, those of a stack of matrices its entries. Two matrices may be multiplied along their rows. */
function rowsOf(a: TensorInfo, b: TensorInfo, ofA: boolean, ofB: boolean, transposeA: boolean, transposeB: boolean): RowEffect | undefined {
  const [rankA, rankB] = [a.shape.length, b.shape.length];
  if (rankA === 2 && rankB === 2) {
    if (ofA && ofB) return transposeA && !transposeB ? 'all' : undefined;
    return ofA && !transposeA ? 'rows' : undefined;
  }
  const whole = (x: TensorInfo, other: TensorInfo) => x.shape.length < other.shape.length || x.shape[0] === 1; // the same for every entry
  if (ofA && ofB) return rankA === rankB ? 'rows' : undefined;
  if (ofA) return rankA > 2 && whole(b, a) ? 'rows' : undefined;
  return rankB > 2 && whole(a, b) ? 'rows' : undefined;
}

/** Rows and columns of the last two axes, as they enter the product. */
function pair({ shape }: TensorInfo, transposed: boolean): [number, number] {
  const [rows, columns] = shape.slice(-2) as [number, number]; // a product's factors have at least two axes
  return transposed ? [columns, rows] : [rows, columns];
}

const batchMatMul: Emitter = ({ inputs: { a, b }, attrs }) => {
  const p = a && b && product(a, b, booleanOf(attrs, 'transposeA'), booleanOf(attrs, 'transposeB'));
  if (!p) return undefined;
  return {
    key: `BatchMatMul ${p.key}`, macs: p.macs, inputs: [a, b], outputs: [{ shape: p.shape, dtype: 'float32' }], rows: (ragged) => p.rows(ragged),
    emit: (g, [x, y], o) => p.emit(g, x!, y!, o),
  };
};

const ACTIVATIONS: Readonly<Record<string, string>> = { linear: 'Identity', relu: 'Relu', elu: 'Elu', sigmoid: 'Sigmoid' };

const fusedMatMul: Emitter = ({ inputs: { a, b, bias, preluActivationWeights }, attrs }) => {
  const activation = ACTIVATIONS[String(attrs['activation'] ?? 'linear')];
  const p = a && b && product(a, b, booleanOf(attrs, 'transposeA'), booleanOf(attrs, 'transposeB'));
  if (!p || !activation || preluActivationWeights || (bias && bias.dtype !== 'float32')) return undefined;
  return {
    key: `_FusedMatMul ${p.key} ${activation} ${bias !== undefined}`, macs: p.macs, inputs: bias ? [a, b, bias] : [a, b],
    outputs: [{ shape: p.shape, dtype: 'float32' }],
    emit: (g, [x, y, c], o) => {
      const [xy, sum] = [`${o[0]}p`, `${o[0]}s`];
      p.emit(g, x!, y!, [xy]);
      if (c !== undefined) g.into([sum], 'Add', [xy, c]);
      g.into(o, activation, [c === undefined ? xy : sum]);
    },
  };
};

export const products: EmitterTable = { BatchMatMul: batchMatMul, _FusedMatMul: fusedMatMul };
