import * as tf from '@tensorflow/tfjs';
import { random } from '@espalier/core';
import { captionOf, cellAttributes, corruptCaption, gridRegions, randomScene, renderScene, type WordPiece } from '@espalier/data';
import type { VqaExamples, VqaModel } from '@espalier/vl-models';
import type { PretrainingInputs } from './model.ts';

/** One batch of captioned scenes as plain arrays. */
export interface CaptionedScenes {
  readonly examples: VqaExamples; // the caption in the question's place, some words replaced by [MASK]
  readonly words: Int32Array; // [B, S] the ids that were masked, by their place in the caption; 0 elsewhere
  readonly matched: Float32Array; // [B] 1 where the caption is true, 0 where it is false, -1 where it is not asked
  readonly cells: Int32Array; // [B, R] class of the object covering each cell, 0 = background
}

export interface SceneBatches {
  readonly seed: number;
  readonly batchSize: number;
  readonly batches: number; // per epoch; every epoch has new scenes
  readonly maskRate: number; // share of words masked, where words are masked
}

const grid = gridRegions();
const LENGTH = 16; // word pieces of the longest caption, padded

/**
 * Scenes that exist once: drawn from the generator keyed by (seed, epoch, position), rendered, cut into cells. Half of the
 * captions are true and have words masked; of the other half, unmasked, every second one is made false, and matching is
 * asked of these only: a [MASK] must not give the truth away.
 */
export async function* sceneBatches(tokens: WordPiece, options: SceneBatches, epoch: number, from: number): AsyncGenerator<CaptionedScenes> {
  for (let b = from; b < options.batches; b++) yield sceneBatch(tokens, options, epoch, b);
}

function sceneBatch(tokens: WordPiece, { seed, batchSize, maskRate }: SceneBatches, epoch: number, b: number): CaptionedScenes {
  const regions = 64;
  const ids: string[] = [];
  const questions = new Int32Array(batchSize * LENGTH);
  const words = new Int32Array(batchSize * LENGTH);
  const matched = new Float32Array(batchSize);
  const cells = new Int32Array(batchSize * regions);
  const features = new Float32Array(batchSize * regions * grid.size);
  const boxes = new Float32Array(batchSize * regions * 4);
  for (let i = 0; i < batchSize; i++) {
    const draw = random('pretraining', seed, epoch, b * batchSize + i);
    const scene = randomScene(draw);
    const caption = captionOf(scene, draw);
    const masks = draw.uniform() < 0.5;
    const truth = masks || draw.uniform() < 0.5;
    const said = tokens.encode((truth ? caption : corruptCaption(caption, scene, draw)).text);
    if (said.length > LENGTH) throw new Error(`a caption of ${said.length} word pieces: raise LENGTH`);
    matched[i] = masks ? -1 : Number(truth);
    const hidden = new Set(masks ? said.flatMap((_, t) => (draw.uniform() < maskRate ? [t] : [])) : []);
    said.forEach((id, t) => {
      questions[i * LENGTH + t] = hidden.has(t) ? tokens.specials.mask : id;
      if (hidden.has(t)) words[i * LENGTH + t] = id;
    });
    const seen = grid.regions(renderScene(scene));
    features.set(seen.features, i * regions * grid.size);
    boxes.set(seen.boxes, i * regions * 4);
    cells.set(cellAttributes(scene), i * regions);
    ids.push(`${epoch}/${b * batchSize + i}`);
  }
  const examples: VqaExamples = {
    ids, questions, questionLength: LENGTH, features, boxes, regionCounts: new Int32Array(batchSize).fill(regions), regions, featureSize: grid.size,
    imageSizes: new Float32Array(2 * batchSize).fill(64), targets: new Float32Array(batchSize), answers: 1,
  };
  return { examples, words, matched, cells };
}

/** A batch as tensors. Both backbones put [CLS] before the text, so that masked words move one place on. */
export function pretrainingInputs(backbone: VqaModel<unknown>, { examples, words, matched, cells }: CaptionedScenes): PretrainingInputs {
  const batch = examples.ids.length;
  // LXMERT's text is [CLS] caption [SEP], VL-BERT's [CLS] caption [SEP] [MASK] [SEP].
  const tokens = LENGTH + (backbone.name === 'lxmert' ? 2 : 4);
  const placed = new Int32Array(batch * tokens);
  for (let i = 0; i < batch; i++) placed.set(words.subarray(i * LENGTH, (i + 1) * LENGTH), i * tokens + 1);
  const attribute = (f: (c: number) => number) => tf.tensor2d(cells.map((c) => (c === 0 ? 0 : 1 + f(c - 1))), [batch, examples.regions], 'int32');
  return {
    model: backbone.inputs(examples),
    tokens,
    regions: examples.regions,
    words: tf.tensor2d(placed, [batch, tokens], 'int32'),
    matched: tf.tensor1d(matched),
    // A cell's class is (shape * 8 + colour) * 2 + size, after background.
    attributes: { shape: attribute((c) => Math.floor(c / 16)), colour: attribute((c) => Math.floor(c / 2) % 8), size: attribute((c) => c % 2) },
  };
}
