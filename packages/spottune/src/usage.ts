import * as tf from '@tensorflow/tfjs';
import { EspalierError, finish, type Adapted, type StepOptions } from '@espalier/core';
import { options, settingsOf } from './settings.ts';
import { gateCount, unitMacs, unitsOf, type Tokens, type Unit } from './units.ts';

/** What one gate switches. */
export interface Gate {
  readonly index: number;
  readonly path: string; // of the stage: 'joint.0.attention.heads'
  readonly role: string;
  readonly stream: string | undefined; // undefined where a gate drives both
  readonly block: number | undefined;
  readonly head: number | undefined;
}

/** Hard decisions and their probabilities for some samples. */
export interface Decisions {
  readonly samples: readonly string[]; // B
  readonly gates: Uint8Array; // [B, D]
  readonly probabilities: Float32Array; // [B, D]
}

/** The `spottune` instance of a model, with what it gates. @throws EspalierError when there is none of that name. */
function routerOf<I>({ plugins, model }: Adapted<I>, instance: string) {
  const plugin = plugins.find((p) => p.instance === instance);
  if (plugin?.name !== 'spottune') throw new EspalierError(`no spottune instance '${instance}' here. There are ${plugins.filter((p) => p.name === 'spottune').map((p) => p.instance).join(', ') || 'none'}.`);
  return { units: unitsOf(model.scope.points, settingsOf(options.parse(plugin.options)), instance) };
}

/** What every gate of an instance switches, in their order. */
export const gatesOf = <I>(adapted: Adapted<I>, instance = 'spottune'): Gate[] => routerOf(adapted, instance).units.flatMap(described);

const described = ({ stage: { path, role, stream, block }, first, width }: Unit): Gate[] =>
  Array.from({ length: width }, (_, i) => ({ index: first + i, path, role, stream, block, head: width > 1 ? i : undefined }));

/** What an instance decides for a batch, without running the model behind it. */
export async function decisionsOf<I>(adapted: Adapted<I>, inputs: I, step: StepOptions = {}, instance = 'spottune'): Promise<Decisions> {
  routerOf(adapted, instance);
  const begun = await adapted.start(inputs, step);
  const read = async (name: string) => {
    const { hook } = adapted.plan.measures.find((m) => m.instance === instance && m.hook.name === name)!; // every instance has both
    const numbers = tf.tidy(() => hook.read(begun).clone()); // [B, D]
    const values = (await numbers.data<'float32'>()).slice();
    numbers.dispose();
    return values;
  };
  try {
    return { samples: begun.samples, gates: Uint8Array.from(await read('open')), probabilities: await read('probability') };
  } finally {
    finish(begun);
  }
}

/** How gates were used over some samples. Rates are over samples; spreads are standard deviations. */
export interface Usage {
  readonly samples: number;
  readonly used: readonly number[]; // [D], the rate at which each gate was open
  readonly rate: number; // mean of `used`
  readonly open: { readonly mean: number; readonly deviation: number }; // gates open in a sample
  readonly policies: number; // different sets of open gates
  /** Mean entropy in bits of a gate, split into what differs between inputs and what is undecided within one. */
  readonly entropy: { readonly between: number; readonly within: number };
  /** Multiply-adds behind open gates in a sample, as expected from the probabilities and as decided; of all gated units they are `all`. */
  readonly macs: { readonly expected: number; readonly mean: number; readonly p95: number; readonly all: number };
}

/**
 * Adds up decisions. Entropy between inputs is H(mean p) - mean H(p): 0 for a policy that ignores its input.
 * `tokens` says how long a sample is in each stream. @throws EspalierError without any sample.
 */
export function usageOf<I>(adapted: Adapted<I>, all: readonly Decisions[], tokens: Tokens, instance = 'spottune'): Usage {
  const { units } = routerOf(adapted, instance);
  const count = gateCount(units);
  const costs = units.flatMap((u) => Array.from({ length: u.width }, () => unitMacs(u, tokens) / u.width));
  const rows = all.flatMap(({ samples, gates, probabilities }) =>
    samples.map((_, b) => ({ gates: [...gates.subarray(b * count, (b + 1) * count)], probabilities: [...probabilities.subarray(b * count, (b + 1) * count)] })),
  );
  if (!rows.length) throw new EspalierError('usage of no samples: give decisionsOf(adapted, inputs) of at least one batch');
  const mean = (xs: readonly number[]) => xs.reduce((a, b) => a + b, 0) / xs.length;
  const cost = (xs: readonly number[]) => xs.reduce((total, x, g) => total + x * costs[g]!, 0);
  const each = (f: (row: (typeof rows)[number], g: number) => number) => costs.map((_, g) => mean(rows.map((row) => f(row, g))));
  const open = rows.map((r) => r.gates.reduce((a, b) => a + b, 0));
  const spent = rows.map((r) => cost(r.gates)).sort((a, b) => a - b);
  const within = mean(each((r, g) => bits(r.probabilities[g]!)));
  const used = each((r, g) => r.gates[g]!);
  return {
    samples: rows.length, used, rate: mean(used), policies: new Set(rows.map((r) => r.gates.join(''))).size,
    open: { mean: mean(open), deviation: Math.sqrt(mean(open.map((n) => (n - mean(open)) ** 2))) },
    entropy: { within, between: mean(each((r, g) => r.probabilities[g]!).map(bits)) - within },
    macs: { expected: mean(rows.map((r) => cost(r.probabilities))), mean: mean(spent), p95: spent[Math.ceil(0.95 * spent.length) - 1]!, all: cost(costs.map(() => 1)) },
  };
}

/** H(p) in bits. */
const bits = (p: number): number => [p, 1 - p].reduce((h, x) => (x > 0 ? h - x * Math.log2(x) : h), 0);

/** One decision for all samples: the gates open for more than half of them, as a fixed policy takes it. */
export const globalGates = ({ used }: Pick<Usage, 'used'>): (0 | 1)[] => used.map((rate) => (rate > 0.5 ? 1 : 0));
