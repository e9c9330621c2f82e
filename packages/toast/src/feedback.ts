import { reshape, zeros, type Host, type Step, type Value } from '@espalier/core';
import type { Descent, Use } from './layout.ts';
import { dense, mapOf, type RowMap } from './maps.ts';
import type { Settings } from './options.ts';

export interface Feedback {
  /** The signal of every use, [B, T, d] each, from what was selected, [B, T, d]. */
  signals(z: Value, step: Step): readonly (readonly [use: Use, td: Value])[];
  /** A of each level from the bottom up; undefined where there is none to learn. */
  readonly trunk: readonly RowMap[] | undefined;
}

/** The way down: x <- x A_l, td_l = x B_l from the top, linear and token by token. Kernels are [in, out], so A here is the paper's A transposed. */
export function feedbackOf(host: Pick<Host, 'variable'>, { width, levels }: Descent, settings: Settings): Feedback {
  const rows = (z: Value) => reshape(z, [-1, width]); // [B T, d]
  if (settings.feedback === 'composed') {
    const maps = levels.flatMap(({ uses }) => uses.map((use) => [use, dense(host, `${use.path}.m`, width, zeros)] as const));
    return { trunk: undefined, signals: (z, step) => maps.map(([use, m]) => [use, reshape(m(rows(z), step), z.shape)] as const) };
  }
  const made = levels.map((level) => ({
    a: mapOf(host, level.path, 'a', width, settings),
    outs: level.uses.map((use) => [use, mapOf(host, use.path, 'b', width, settings)] as const),
  }));
  return {
    trunk: made.map(({ a }) => a),
    signals: (z, step) => {
      let x = rows(z);
      return made.toReversed().flatMap(({ a, outs }) => {
        x = a(x, step);
        return outs.map(([use, b]) => [use, reshape(b(x, step), z.shape)] as const);
      });
    },
  };
}
