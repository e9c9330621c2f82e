import * as tf from '@tensorflow/tfjs';
import { bookTangents } from './value.ts';

/** Multiply-adds of matrix products, by who asked for them and where. */
export interface CostRow {
  readonly place: string; // an outermost unit: a source, a block, or '' for what lies outside
  readonly instance: string; // a plugin instance, or '' for the model itself
  readonly macs: number; // that really ran, per sample: the mean of `spent`
  readonly spent: Float64Array; // that ran for each sample: [B]
  readonly expected: Float64Array; // the same, where samples chose among ways each way by its probability: [B]
}

/** One of several ways that a sample may take, and how probable it was for each of the rows that run: [R]. */
export interface Way {
  readonly probabilities: ArrayLike<number>;
  /** Runs this way for one sample, to see what it costs. */
  run(): unknown;
}

interface Label {
  readonly place: string;
  readonly instance: string;
  readonly rows: readonly number[] | undefined; // samples that the products are for; undefined is all of them
  readonly chosen: boolean; // inside one of several ways: what was expected is booked apart
}

interface Row {
  readonly place: string;
  readonly instance: string;
  total: number;
  readonly spent: Float64Array;
  readonly expected: Float64Array;
}

/**
 * Counts multiply-adds from the kernels that tfjs runs: a product of [.., m, k] and [.., k, n] is m k n per batch entry.
 * Elementwise work is not counted. Kernels carry no origin, so the step opens and closes labelled spans around them.
 */
export class Account {
  private rows = new Map<string, Row>();
  private readonly labels: Label[] = [{ place: '', instance: '', rows: undefined, chosen: false }];
  private seen = 0;
  /** The plugin instance that products of derivative parts are booked to: whoever made the first dual. */
  tangents: string | undefined;
  private aside = false; // what is counted is only being asked for

  constructor(private readonly batch: number) {}

  /** Runs f with its products booked under a place or a plugin, to the rows they are for. */
  within<T>(label: { place?: string; instance?: string; rows?: readonly number[] | undefined }, f: () => T): T {
    const { place, instance, rows, chosen } = this.labels.at(-1)!;
    // Nested places (a sublayer in a block) book under the outermost one.
    return this.span({ place: place || (label.place ?? ''), instance: label.instance ?? instance, rows: label.rows ?? rows, chosen }, f);
  }

  /** Runs f, whose products serve all samples, whoever asks for them first. */
  shared<T>(instance: string, f: () => T): T {
    return this.span({ place: this.labels.at(-1)!.place, instance, rows: undefined, chosen: false }, f);
  }

  /** Runs f, in which every row took one of the ways. As expected counts what each way costs one sample, by its probability. */
  expect<T>(rows: readonly number[] | undefined, ways: readonly Way[], f: () => T): T {
    const label = this.labels.at(-1)!;
    if (this.aside || label.chosen) return f();
    const result = this.span({ ...label, chosen: true }, f);
    const at = rows ?? Array.from({ length: this.batch }, (_, i) => i);
    for (const { probabilities, run } of ways)
      for (const cost of this.costOf(run)) {
        const { expected } = this.row(cost);
        at.forEach((row, i) => (expected[row]! += probabilities[i]! * cost.total));
      }
    return result;
  }

  /** What a run costs once all that is shared between samples is there. */
  private costOf(run: () => unknown): Row[] {
    const { rows } = this;
    this.settle();
    this.aside = true;
    const count = () => {
      this.rows = new Map();
      run();
      this.settle();
      return [...this.rows.values()];
    };
    try {
      count();
      return count();
    } finally {
      this.rows = rows;
      this.aside = false;
    }
  }

  private span<T>(label: Label, f: () => T): T {
    this.settle();
    this.labels.push(label);
    try {
      return f();
    } finally {
      this.settle();
      this.labels.pop();
    }
  }

  /** Books the kernels that ran since the last call. */
  private settle(): void {
    const { kernels } = tf.engine().state.activeProfile;
    const label = this.labels.at(-1)!;
    for (; this.seen < kernels.length; this.seen++) {
      const macs = multiplyAdds(kernels[this.seen]!);
      if (macs) this.book(label, macs);
    }
  }

  private book(label: Label, macs: number): void {
    const row = this.row(label);
    row.total += macs;
    const samples = label.rows ?? row.spent.keys();
    const share = macs / (label.rows?.length ?? this.batch);
    for (const sample of samples) {
      row.spent[sample]! += share;
      if (!label.chosen) row.expected[sample]! += share;
    }
  }

  private row({ place, instance }: Pick<Label, 'place' | 'instance'>): Row {
    const key = `${place}|${instance}`;
    const known = this.rows.get(key);
    if (known) return known;
    const made = { place, instance, total: 0, spent: new Float64Array(this.batch), expected: new Float64Array(this.batch) };
    this.rows.set(key, made);
    return made;
  }

  /** Runs f under tfjs's profiler and returns what was booked for a batch of so many samples. */
  static async of(batch: number, f: (account: Account) => Promise<void>): Promise<CostRow[]> {
    const account = new Account(batch);
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
    return [...account.rows.values()].map(({ total, ...row }) => ({ ...row, macs: total / batch }));
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
