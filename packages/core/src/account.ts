import * as tf from '@tensorflow/tfjs';
import { bookTangents } from './value.ts';

/** Multiply-adds of matrix products that really ran, per sample, by who asked for them and where. */
export interface CostRow {
  readonly place: string; // an outermost unit: a source, a block, or '' for what lies outside
  readonly instance: string; // a plugin instance, or '' for the model itself
  readonly macs: number; // per sample
}

/**
 * Counts multiply-adds from the kernels that tfjs runs: a product of [.., m, k] and [.., k, n] is m k n per batch entry.
 * Elementwise work is not counted. Kernels carry no origin, so the step opens and closes labelled spans around them.
 */
export class Account {
  private readonly totals = new Map<string, { place: string; instance: string; macs: number }>();
  private readonly labels: { place: string; instance: string }[] = [{ place: '', instance: '' }];
  private seen = 0;
  /** The plugin instance that products of derivative parts are booked to: whoever made the first dual. */
  tangents: string | undefined;

  /** Runs f with its products booked under a place or a plugin. */
  within<T>(label: { place?: string; instance?: string }, f: () => T): T {
    const current = this.labels.at(-1)!;
    this.settle();
    // Nested places (a sublayer in a block) book under the outermost one.
    this.labels.push({ place: current.place || (label.place ?? ''), instance: label.instance ?? current.instance });
    try {
      return f();
    } finally {
      this.settle();
      this.labels.pop();
    }
  }

  /** Books the kernels that ran since the last call. */
  private settle(): void {
    const kernels = tf.engine().state.activeProfile.kernels;
    const { place, instance } = this.labels.at(-1)!;
    for (; this.seen < kernels.length; this.seen++) {
      const macs = multiplyAdds(kernels[this.seen]!);
      if (!macs) continue;
      const key = `${place}|${instance}`;
      const row = this.totals.get(key) ?? { place, instance, macs: 0 };
      row.macs += macs;
      this.totals.set(key, row);
    }
  }

  /** Runs f under tfjs's profiler and returns what was booked, divided by the batch size. */
  static async of(batch: number, f: (account: Account) => Promise<void>): Promise<CostRow[]> {
    const account = new Account();
    const done = bookTangents((product) => account.within({ ...(account.tangents !== undefined && { instance: account.tangents }) }, product));
    try {
      await tf.engine().profile(async () => {
        await f(account);
        account.settle();
        return [];
      });
    } finally {
      done();
      tf.engine().state.profiling = false; // tfjs leaves it on when f throws
    }
    return [...account.totals.values()].map((row) => ({ ...row, macs: row.macs / batch }));
  }
}

interface KernelRun {
  readonly name: string;
  readonly inputShapes: (number[] | undefined)[];
  readonly outputShapes: (number[] | undefined)[];
}

function multiplyAdds({ name, inputShapes, outputShapes }: KernelRun): number {
  if (name !== 'BatchMatMul' && name !== '_FusedMatMul') return 0;
  const out = outputShapes[0];
  const [a, b] = inputShapes;
  if (!out || !a || !b) return 0;
  const size = (shape: readonly number[]) => shape.reduce((x, y) => x * y, 1);
  // |out| = batch m n; of |a| = batch m k the inner size k is what is left after batch and m.
  const [m, n] = out.slice(-2) as [number, number];
  const batchA = size(a.slice(0, -2));
  const inner = size(a) / batchA / m;
  return size(out.slice(0, -2)) * m * n * inner;
}

/** Sums the multiply-adds per sample of an account, over everything or over what a filter keeps. */
export const totalMacs = (rows: readonly CostRow[], keep: (row: CostRow) => boolean = () => true): number =>
  rows.filter(keep).reduce((total, row) => total + row.macs, 0);
