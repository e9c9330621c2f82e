import * as tf from '@tensorflow/tfjs';
import { random } from '@espalier/core';

/** A batch for a tiny model. Masks are 1 for what is there and 0 for padding. */
export interface TinyInputs {
  readonly ids: tf.Tensor2D; // int32 [B, T]
  readonly segments: tf.Tensor2D; // int32 [B, T]
  readonly textMask: tf.Tensor2D; // [B, T]
  readonly features: tf.Tensor3D; // [B, R, 6]
  readonly boxes: tf.Tensor3D; // [B, R, 4]
  readonly visionMask: tf.Tensor2D; // [B, R]
}

/** What the tiny models expect of their inputs. */
export const TINY_SIZES = { words: 12, positions: 12, segments: 3, regionFeatures: 6, boxFeatures: 4 } as const;

/** How long each sample is: tokens, regions. */
export type Lengths = readonly (readonly [tokens: number, regions: number])[];

export interface InputOptions {
  readonly seed?: number; // default 0
  readonly lengths?: Lengths; // one entry per sample; default three samples of different lengths
  readonly padded?: readonly [tokens: number, regions: number]; // size of the batch; default the longest
}

const LENGTHS: Lengths = [[5, 3], [3, 2], [4, 1]];

/** A batch drawn from the keyed generator. A sample depends on the seed and its position alone, not on its padding. */
export function tinyInputs({ seed = 0, lengths = LENGTHS, padded }: InputOptions = {}): TinyInputs {
  const tokens = padded?.[0] ?? Math.max(...lengths.map(([t]) => t));
  const regions = padded?.[1] ?? Math.max(...lengths.map(([, r]) => r));
  const rows = lengths.map(([own, seen], i) => {
    const generator = random(seed, 'tiny-inputs', i);
    const draw = (length: number, of: number, f: () => number) => Array.from({ length: of }, (_, at) => (at < length ? f() : 0));
    return {
      ids: draw(own, tokens, () => 1 + generator.integer(TINY_SIZES.words - 1)),
      segments: Array.from({ length: tokens }, (_, at) => (at < own && at >= own / 2 ? 1 : 0)),
      textMask: draw(own, tokens, () => 1),
      features: draw(seen, regions, () => 1).map((there) => Array.from({ length: TINY_SIZES.regionFeatures }, () => there && generator.normal())),
      boxes: draw(seen, regions, () => 1).map((there) => Array.from({ length: TINY_SIZES.boxFeatures }, () => there && generator.uniform())),
      visionMask: draw(seen, regions, () => 1),
    };
  });
  return {
    ids: tf.tensor2d(rows.map((r) => r.ids), undefined, 'int32'),
    segments: tf.tensor2d(rows.map((r) => r.segments), undefined, 'int32'),
    textMask: tf.tensor2d(rows.map((r) => r.textMask)),
    features: tf.tensor3d(rows.map((r) => r.features)),
    boxes: tf.tensor3d(rows.map((r) => r.boxes)),
    visionMask: tf.tensor2d(rows.map((r) => r.visionMask)),
  };
}

/** Some samples of a batch, padding and all. */
export const takeInputs = (x: TinyInputs, rows: readonly number[]): TinyInputs => mapInputs(x, (t) => tf.tidy(() => tf.gather(t, tf.tensor1d([...rows], 'int32'))));

/** The same batch with more padding. */
export const padInputs = (x: TinyInputs, tokens: number, regions: number): TinyInputs => {
  const more = (t: tf.Tensor, by: number) => t.shape.map((_, axis): [number, number] => [0, axis === 1 ? by : 0]);
  const { ids, segments, textMask, features, boxes, visionMask } = x;
  return {
    ids: tf.pad(ids, more(ids, tokens)),
    segments: tf.pad(segments, more(segments, tokens)),
    textMask: tf.pad(textMask, more(textMask, tokens)),
    features: tf.pad(features, more(features, regions)),
    boxes: tf.pad(boxes, more(boxes, regions)),
    visionMask: tf.pad(visionMask, more(visionMask, regions)),
  };
};

/** Disposes a batch. */
export const disposeInputs = (x: TinyInputs): void => tf.dispose(Object.values(x));

const mapInputs = (x: TinyInputs, f: <T extends tf.Tensor>(t: T) => T): TinyInputs => ({
  ids: f(x.ids),
  segments: f(x.segments),
  textMask: f(x.textMask),
  features: f(x.features),
  boxes: f(x.boxes),
  visionMask: f(x.visionMask),
});
