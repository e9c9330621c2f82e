import { random } from '@espalier/core';
import type { VqaExamples } from '@espalier/vl-models';

/** A made-up batch of the size of a real one. */
export function madeUpBatch({ batch = 32, words = 10, regions = 64, features = 192, answers = 13, vocabulary = 150 } = {}): VqaExamples {
  const draw = random('bench', batch, regions);
  return {
    ids: Array.from({ length: batch }, (_, i) => String(i)),
    questions: Int32Array.from({ length: batch * words }, () => 5 + draw.integer(vocabulary)),
    questionLength: words,
    features: Float32Array.from({ length: batch * regions * features }, () => draw.normal()),
    boxes: Float32Array.from({ length: batch * regions * 4 }, (_, i) => (i % 4 < 2 ? 8 : 24)),
    regionCounts: new Int32Array(batch).fill(regions),
    regions,
    featureSize: features,
    imageSizes: new Float32Array(2 * batch).fill(64),
    targets: Float32Array.from({ length: batch * answers }, (_, i) => Number(i % answers === Math.floor(i / answers) % answers)),
    answers,
  };
}
