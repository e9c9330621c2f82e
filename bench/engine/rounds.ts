import { median } from '../paired.ts';
import type { Finding } from './settings.ts';

/** Runs something once and gives what it took, by name, in milliseconds. */
export type Side = () => Promise<Readonly<Record<string, number>>>;

/** What every round took, by name. */
export type Rounds = ReadonlyMap<string, readonly number[]>;

/**
 * Runs all sides once a round, each round beginning with another one, so that a machine whose speed drifts moves all
 * sides alike. What the sides are called must differ.
 */
export async function interleaved(sides: readonly Side[], { rounds, warmup }: { rounds: number; warmup: number }): Promise<Rounds> {
  const times = new Map<string, number[]>();
  for (let round = -warmup; round < rounds; round++)
    for (let i = 0; i < sides.length; i++) {
      const took = await sides[(i + round + warmup) % sides.length]!();
      if (round < 0) continue;
      for (const [name, ms] of Object.entries(took)) times.set(name, [...(times.get(name) ?? []), ms]);
    }
  return times;
}

export const timesOf = (rounds: Rounds, name: string): readonly number[] => {
  const found = rounds.get(name);
  if (!found) throw new Error(`no side gave '${name}'; there are ${[...rounds.keys()].join(', ')}`);
  return found;
};

/** The median, and the interval between order statistics that holds it with 95 % confidence; for fewer than six values, their range. */
export function summary(values: readonly number[]): { value: number; low: number; high: number; min: number; rounds: number } {
  const sorted = [...values].sort((a, b) => a - b);
  const reach = Math.ceil((1.96 * Math.sqrt(sorted.length)) / 2);
  const middle = (sorted.length - 1) / 2;
  return {
    value: median(values), low: sorted[Math.max(0, Math.floor(middle - reach))]!, high: sorted[Math.min(sorted.length - 1, Math.ceil(middle + reach))]!,
    min: sorted[0]!, rounds: sorted.length,
  };
}

/** a / b, round by round. */
export function ratio(what: string, rounds: Rounds, a: string, b: string, more: Pick<Finding, 'goal' | 'detail'> = {}): Finding {
  const [x, y] = [timesOf(rounds, a), timesOf(rounds, b)];
  const { value, low, high, rounds: n } = summary(x.map((t, i) => t / y[i]!));
  const detail = `${median(x).toFixed(1)} / ${median(y).toFixed(1)} ms${more.detail === undefined ? '' : `; ${more.detail}`}`;
  return { what, value, low, high, unit: 'ratio', rounds: n, ...more, detail };
}

/** Milliseconds of a side. */
export const milliseconds = (what: string, rounds: Rounds, name: string, more: Pick<Finding, 'detail'> = {}): Finding => ({
  what, ...summary(timesOf(rounds, name)), unit: 'ms', ...more,
});
