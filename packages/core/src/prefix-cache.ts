import * as tf from '@tensorflow/tfjs';
import type { Step } from './step.ts';
import type { Stream, Streams } from './streams.ts';
import { tensorsIn } from './tree.ts';
import { primal } from './value.ts';

interface Row {
  readonly hidden: Float32Array; // [T, D]
  readonly mask: Float32Array; // [T]
}

/** What leaves the part of a model that nothing trainable touches: streams, and which blocks they have passed. */
export interface Frontier {
  readonly streams: Streams;
  readonly blocks: ReadonlySet<string>;
}

/** Keeps that for samples one by one, so that batches may be put together anew; an entry belongs to one shape of the inputs. */
export interface PrefixCache {
  readonly samples: number;
  readonly bytes: number;
  /** Undefined when a sample of the step is not there. The arrays are the caller's to dispose. */
  read(step: Step): Frontier | undefined;
  write(step: Step, frontier: Frontier): void;
}

/** A cache of at most so many bytes; what finds no room is not kept. */
export function prefixCache({ bytes: most = 2 ** 30 }: { readonly bytes?: number } = {}): PrefixCache {
  const rows = new Map<string, ReadonlyMap<string, Row>>(); // by signature and sample; then by stream
  const layouts = new Map<string, { readonly blocks: ReadonlySet<string>; readonly widths: ReadonlyMap<string, number> }>();
  let bytes = 0;
  return {
    get samples() {
      return rows.size;
    },
    get bytes() {
      return bytes;
    },
    read: (step) => {
      const signature = signatureOf(step);
      const layout = layouts.get(signature);
      const found = step.samples.map((sample) => rows.get(`${signature} ${sample}`));
      if (!layout || found.includes(undefined)) return undefined;
      const streams = [...layout.widths].map(([name, width]): [string, Stream] => {
        const own = found.map((row) => row!.get(name)!);
        const tokens = own[0]!.mask.length;
        return [name, { hidden: tf.tensor(joined(own.map((r) => r.hidden)), [own.length, tokens, width]), mask: tf.tensor(joined(own.map((r) => r.mask)), [own.length, 1, 1, tokens]) }];
      });
      return { streams: Object.fromEntries(streams), blocks: layout.blocks };
    },
    write: (step, { streams, blocks }) => {
      const signature = signatureOf(step);
      const batch = step.samples.length;
      const all = Object.entries(streams).map(([name, { hidden, mask }]) => ({ name, width: hidden.shape.at(-1)!, hidden: primal(hidden).dataSync<'float32'>(), mask: mask.dataSync<'float32'>() }));
      layouts.set(signature, { blocks, widths: new Map(all.map(({ name, width }) => [name, width])) });
      step.samples.forEach((sample, i) => {
        const row = (values: Float32Array) => values.slice((i * values.length) / batch, ((i + 1) * values.length) / batch);
        const own = new Map(all.map(({ name, hidden, mask }) => [name, { hidden: row(hidden), mask: row(mask) }]));
        const size = [...own.values()].reduce((sum, r) => sum + 4 * (r.hidden.length + r.mask.length), 0);
        const key = `${signature} ${sample}`;
        if (rows.has(key) || bytes + size > most) return;
        rows.set(key, own);
        bytes += size;
      });
    },
  };
}

const signatureOf = (step: Step): string => JSON.stringify(tensorsIn(step.inputs).map((t) => t.shape.slice(1)));

function joined(arrays: readonly Float32Array[]): Float32Array {
  const out = new Float32Array(arrays.reduce((n, a) => n + a.length, 0));
  let at = 0;
  for (const a of arrays) {
    out.set(a, at);
    at += a.length;
  }
  return out;
}
