import * as tf from '@tensorflow/tfjs';
import { adapt, denseGradient, random } from '@espalier/core';
import { lora } from '@espalier/lora';
import { testPlugin, useCpu, useOnnx } from '@espalier/testing';
import { tune } from '@espalier/tune';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { backbone, disposeModel, initialised, type VqaExamples } from './index.ts';

beforeAll(useOnnx);
afterAll(useCpu);

const test = { describe: (name: string, f: () => void) => describe(`onnx: ${name}`, f), it };
testPlugin(lora, { identityAtStart: true, weightsOnly: true, exactRows: true }, { test, options: { rank: 3, alpha: 6 }, peers: [] });
testPlugin(tune, { identityAtStart: true, weightsOnly: true, exactRows: true }, { test, options: { preset: 'all' }, peers: [] });

const [BATCH, LENGTH, REGIONS, ANSWERS] = [3, 4, 5, 7];

/** A batch of made-up questions and regions, another one for every step. */
function examples(step: number, featureSize: number): VqaExamples {
  const draw = random(0, 'examples', step);
  const floats = (n: number, f = () => draw.normal()) => Float32Array.from({ length: n }, f);
  return {
    ids: Array.from({ length: BATCH }, (_, i) => `${step}/${i}`),
    questions: Int32Array.from({ length: BATCH * LENGTH }, () => 5 + draw.integer(20)), questionLength: LENGTH,
    features: floats(BATCH * REGIONS * featureSize), boxes: floats(BATCH * REGIONS * 4, () => draw.uniform() * 60),
    regionCounts: Int32Array.of(REGIONS, REGIONS - 1, REGIONS - 2), regions: REGIONS, featureSize,
    imageSizes: floats(BATCH * 2, () => 64), targets: floats(BATCH * ANSWERS, () => draw.uniform()), answers: ANSWERS,
  };
}

describe.each(['vl-bert', 'lxmert', 'visual-bert'])('%s', (name) => {
  /** Losses and squared gradient norms of six steps. */
  async function numbers(): Promise<{ found: number[]; how: string | undefined }> {
    const { build, sizes } = backbone(name);
    const model = build(sizes.tiny, initialised(0));
    const adapted = adapt(model, [lora({ rank: 2, at: { role: ['attention.query', 'attention.value', 'ffn.up'] } }), tune({ at: { role: ['embed.words', 'attention.norm'] } }), tune({ preset: 'head', answers: ANSWERS }, { as: 'head' })]);
    const learner = adapted.learner<tf.Tensor>({ loss: (y, t) => tf.tidy(() => tf.mean(tf.square(tf.sub(y, t)))) });
    const found: number[] = [];
    for (let step = 0; step < 6; step++) {
      const given = examples(step, model.featureSize);
      const [inputs, targets] = [model.inputs(given), tf.tensor2d(given.targets, [BATCH, ANSWERS])];
      const lesson = await learner.learn(inputs, targets, { seed: 0, step, samples: given.ids });
      found.push(...lesson.scalars.dataSync());
      for (const [path, g] of lesson.gradients) {
        const { variable } = adapted.parameters.get(path)!;
        tf.tidy(() => variable.assign(tf.sub(variable, tf.mul(denseGradient(g), 0.1))));
      }
      lesson.dispose();
      tf.dispose([targets, ...Object.values(Object(inputs)).filter((x): x is tf.Tensor => x instanceof tf.Tensor)]);
    }
    const how = learner.last;
    learner.dispose();
    adapted.dispose();
    disposeModel(model.scope);
    return { found, how };
  }

  it('trains embeddings, norms, low-rank updates and a head with the numbers of cpu, replayed', async () => {
    const { found, how } = await numbers();
    expect(how).toBe('replayed');
    await useCpu();
    const wanted = await numbers();
    await useOnnx();
    expect(wanted.how).toBe('traced');
    found.forEach((x, i) => expect(Math.abs(x / wanted.found[i]! - 1), `number ${i}`).toBeLessThan(1e-4));
  });
});
