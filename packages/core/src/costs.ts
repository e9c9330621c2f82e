import type { CostRow } from './account.ts';

/** Multiply-adds of a sample: the mean, and what 95 of 100 samples do not exceed. */
export interface Spread {
  readonly mean: number;
  readonly p95: number;
}

/** Expected and spent multiply-adds of a sample. */
export interface Cost {
  readonly expected: Spread;
  readonly spent: Spread;
}

/** What some samples cost, in all, by plugin instance ('' is the model itself) and by place ('' lies outside of sources and blocks). */
export interface Costs {
  readonly samples: number;
  readonly total: Cost;
  readonly byInstance: Readonly<Record<string, Cost>>;
  readonly byPlace: Readonly<Record<string, Cost>>;
}

/** Adds up the accounts of batches. */
export function costsOf(batches: readonly (readonly CostRow[])[]): Costs {
  const sizes = batches.map((rows) => rows[0]?.spent.length ?? 0);
  const samples = sizes.reduce((a, b) => a + b, 0);
  const cost = (keep: (row: CostRow) => boolean): Cost => {
    const of = (part: 'expected' | 'spent') =>
      spreadOf(batches.flatMap((rows, i) => Array.from({ length: sizes[i]! }, (_, b) => rows.reduce((sum, row) => (keep(row) ? sum + row[part][b]! : sum), 0))));
    return { expected: of('expected'), spent: of('spent') };
  };
  const by = (key: 'instance' | 'place') => {
    const names = [...new Set(batches.flatMap((rows) => rows.map((row) => row[key])))];
    return Object.fromEntries(names.map((name) => [name, cost((row) => row[key] === name)]));
  };
  return { samples, total: cost(() => true), byInstance: by('instance'), byPlace: by('place') };
}

/** Mean and 95th percentile (nearest rank); zero of nothing. */
export function spreadOf(values: readonly number[]): Spread {
  if (!values.length) return { mean: 0, p95: 0 };
  const sorted = [...values].sort((a, b) => a - b);
  return { mean: values.reduce((a, b) => a + b, 0) / values.length, p95: sorted[Math.ceil(0.95 * values.length) - 1]! };
}
