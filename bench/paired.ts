/** Ratios of two sides measured in interleaved pairs: the median, and an interval that holds it with 95 % confidence. */
export interface PairedResult {
  readonly pairs: number;
  readonly medianA: number; // milliseconds
  readonly medianB: number;
  readonly ratio: number; // median of a/b, pair by pair
  readonly low: number;
  readonly high: number;
}

type Work = () => unknown;

/**
 * Runs a and b in turn, A B, B A, A B, ... after a warm-up, and takes the ratio pair by pair, so that a machine whose
 * speed drifts moves both sides alike; a turn is `each` calls, times are of one. The interval is that of order statistics and assumes no distribution.
 */
export async function paired(a: Work, b: Work, { pairs = 31, warmup = 3, each = 1 }: { pairs?: number; warmup?: number; each?: number } = {}): Promise<PairedResult> {
  for (let i = 0; i < warmup; i++) {
    await a();
    await b();
  }
  const times: { a: number; b: number }[] = [];
  for (let i = 0; i < pairs; i++) {
    const first = i % 2 === 0;
    const one = await timed(first ? a : b, each);
    const two = await timed(first ? b : a, each);
    times.push(first ? { a: one, b: two } : { a: two, b: one });
  }
  const ratios = times.map((t) => t.a / t.b).sort((x, y) => x - y);
  const reach = Math.ceil((1.96 * Math.sqrt(pairs)) / 2);
  const middle = (pairs - 1) / 2;
  return {
    pairs,
    medianA: median(times.map((t) => t.a)),
    medianB: median(times.map((t) => t.b)),
    ratio: median(ratios),
    low: ratios[Math.max(0, Math.floor(middle - reach))]!,
    high: ratios[Math.min(pairs - 1, Math.ceil(middle + reach))]!,
  };
}

async function timed(work: Work, times: number): Promise<number> {
  const start = performance.now();
  for (let i = 0; i < times; i++) await work();
  return (performance.now() - start) / times;
}

/** The middle value, or the mean of the two middle ones. */
export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const half = sorted.length / 2;
  return sorted.length % 2 ? sorted[Math.floor(half)]! : (sorted[half - 1]! + sorted[half]!) / 2;
}

/** One line of a report; a ratio above its goal is called missed, one whose whole interval is above it ends the bench with an error. */
export function show(name: string, r: PairedResult, goal = Infinity): string {
  if (r.low > goal) process.exitCode = 1;
  return `${name.padEnd(44)} ${r.ratio.toFixed(3)} [${r.low.toFixed(3)}, ${r.high.toFixed(3)}]${r.ratio > goal ? ' MISSED' : ''}  (${goal === Infinity ? '' : `goal ${goal}; `}${r.medianA.toFixed(2)} / ${r.medianB.toFixed(2)} ms, ${r.pairs} pairs)`;
}
