import { add, matMul } from './ops.ts';
import type { Value } from './value.ts';

/** A product a b added to a kernel without forming it: y += (x a) b, with `a` [in, r] and `b` [r, out]. */
export interface LowRank {
  readonly a: Value;
  readonly b: Value;
  readonly by?: string; // the plugin instance that added it; set by the plan, read by the account
}

/** Parameters of y = x kernel + bias + sum (x a) b. The low-rank tail keeps LoRA and GIFT from forming a dense residual. */
export interface LinearParams {
  readonly kernel: Value; // [in, out]
  readonly bias: Value | undefined; // [out]
  readonly lowRank: readonly LowRank[];
}
/** Parameters of y = gamma n + beta. */
export interface NormParams {
  readonly gamma: Value; // [D]
  readonly beta: Value; // [D]
}
/** Parameters of y = table[ids]. */
export interface EmbeddingParams {
  readonly table: Value; // [V, D]
}
/** A plugin's own variable, seen as a place that another plugin may hook. */
export interface ParameterParams {
  readonly value: Value;
}
export type Params = LinearParams | NormParams | EmbeddingParams | ParameterParams;

/** Adds a low-rank product to a linear's tail. */
export const withLowRank = (p: LinearParams, a: Value, b: Value): LinearParams => ({ ...p, lowRank: [...p.lowRank, { a, b }] });

/** Folds the low-rank tail into the kernel: kernel + sum a b. */
export function materialise(p: LinearParams): LinearParams {
  const kernel = p.lowRank.reduce<Value>((k, { a, b }) => add(k, matMul(a, b)), p.kernel);
  return { kernel, bias: p.bias, lowRank: [] };
}

export const isLinear = (p: Params): p is LinearParams => 'kernel' in p;

/** The named arrays of a place: kernel and bias, gamma and beta, table, or value. A low-rank tail must be folded first. */
export function entriesOf(p: Params): [part: string, x: Value][] {
  if (isLinear(p)) {
    if (p.lowRank.length) throw new Error('entriesOf: fold the low-rank tail with materialise first');
    return p.bias ? [['kernel', p.kernel], ['bias', p.bias]] : [['kernel', p.kernel]];
  }
  return Object.entries(p);
}

/** Maps every array of a place by its part's name, keeping the kind of place. */
export function mapParams(p: LinearParams, f: (x: Value, part: string) => Value): LinearParams;
export function mapParams<P extends Params>(p: P, f: (x: Value, part: string) => Value): P;
export function mapParams(p: Params, f: (x: Value, part: string) => Value): Params {
  if (isLinear(p)) return { ...p, kernel: f(p.kernel, 'kernel'), bias: p.bias && f(p.bias, 'bias') };
  if ('gamma' in p) return { gamma: f(p.gamma, 'gamma'), beta: f(p.beta, 'beta') };
  if ('table' in p) return { table: f(p.table, 'table') };
  return { value: f(p.value, 'value') };
}
