import * as tf from '@tensorflow/tfjs';
import { add, mask as multiply, takeRows } from './ops.ts';
import { joinRows, type Partition } from './partition.ts';
import type { Rows } from './samples.ts';
import { primal, type Value } from './value.ts';

/** One sequence of tokens. The mask travels with it: whoever slices or lengthens a stream does both. */
export interface Stream {
  readonly hidden: Value; // [B, T, D]
  readonly mask: tf.Tensor; // additive, [B, 1, 1, T]: 0 keeps, -10000 hides
  readonly residual?: Value; // set between the two halves of a residual sublayer
}
export type Streams = Readonly<Record<string, Stream>>;

/** The stream of a name; a missing one is a wiring mistake and names what there is. */
export function streamOf(streams: Streams, name: string): Stream {
  const found = streams[name];
  if (!found) throw new Error(`no stream '${name}' here; there are ${Object.keys(streams).join(', ')}`);
  return found;
}

/** Replaces one stream by f of it. */
export const update = (s: Streams, name: string, f: (x: Stream) => Stream): Streams => ({ ...s, [name]: f(streamOf(s, name)) });

/** Maps every array of every stream, masks included. */
export function mapStreams(s: Streams, f: (x: Value, stream: string) => Value): Streams {
  return Object.fromEntries(
    Object.entries(s).map(([name, x]) => [
      name,
      { hidden: f(x.hidden, name), mask: primal(f(x.mask, name)), ...(x.residual && { residual: f(x.residual, name) }) },
    ]),
  );
}

/** The rows of a batch, masks included. */
export const takeStreamRows = (s: Streams, rows: Rows): Streams => mapStreams(s, (x) => takeRows(x, rows));

/** The inverse of `takeStreamRows`: puts parts back in batch order, masks included. Parts must agree in everything but rows. */
export function joinStreamRows(all: readonly Streams[], partition: Partition): Streams {
  const join = (xs: readonly Value[]) => joinRows(xs, partition);
  return zipStreams(all, join, (masks) => primal(join(masks)));
}

/** gate on + (1 - gate) off, array by array; masks come from `on`. The gate broadcasts over tokens and channels. */
export const blendStreams = (gate: tf.Tensor, on: Streams, off: Streams): Streams =>
  zipStreams(
    [on, off],
    ([yes, no]) => add(multiply(yes!, gate), multiply(no!, tf.sub(1, gate))),
    ([first]) => first!,
  );

/** Combines alike streams array by array. */
export function zipStreams(
  all: readonly Streams[],
  f: (xs: Value[], stream: string) => Value,
  masks: (xs: tf.Tensor[], stream: string) => tf.Tensor,
): Streams {
  return Object.fromEntries(
    Object.keys(all[0]!).map((name) => {
      const each = all.map((s) => streamOf(s, name));
      const residuals = each.flatMap((e) => e.residual ?? []);
      if (residuals.length && residuals.length !== each.length) throw new Error(`stream '${name}': only some parts carry a residual`);
      const hidden = f(each.map((e) => e.hidden), name);
      const mask = masks(each.map((e) => e.mask), name);
      return [name, residuals.length ? { hidden, mask, residual: f(residuals, name) } : { hidden, mask }];
    }),
  );
}
