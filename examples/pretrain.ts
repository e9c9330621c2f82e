import { mkdir, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import * as tf from '@tensorflow/tfjs';
import { adapt, tensorsIn, writeSafetensors, type Adapted } from '@espalier/core';
import { selectBackend } from '@espalier/core/backend';
import { wordPiece } from '@espalier/data';
import { adamW, biasesAndNorms, fit, schedule, type Metrics } from '@espalier/train';
import { tune } from '@espalier/tune';
import { backbone, initialised, toCheckpoint, type VqaModel } from '@espalier/vl-models';
import { pretrainingLoss, pretrainingModel, type PretrainingInputs } from './pretraining/model.ts';
import { pretrainingInputs, sceneBatches, type CaptionedScenes, type SceneBatches } from './pretraining/scenes.ts';
import { demoVocabulary } from './pretraining/vocabulary.ts';

/*
 * Makes the small backbones that the demos start from: masked words, image-text matching and attribute prediction on
 * captions of generated scenes. No question is ever seen.
 *
 *   npm run pretrain                              both, into packages/vl-models/weights
 *   npm run pretrain -- --backbone lxmert --resume
 */
const { values } = parseArgs({
  options: {
    backbone: { type: 'string' },
    steps: { type: 'string', default: '3000' },
    rate: { type: 'string', default: '1e-3' },
    deviation: { type: 'string', default: '0.05' }, // of new kernels; BERT's 0.02 is for a width of 768
    seed: { type: 'string', default: '0' },
    out: { type: 'string', default: join('packages', 'vl-models', 'weights') },
    backend: { type: 'string', default: 'auto' },
    resume: { type: 'boolean', default: false },
  },
});
const [steps, rate, deviation, seed] = [values.steps, values.rate, values.deviation, values.seed].map((text) => {
  const number = Number(text);
  if (!Number.isFinite(number) || number < 0) throw new Error(`'${text}' is not a number of steps, a rate, a deviation or a seed`);
  return number;
}) as [number, number, number, number];

const engine = await selectBackend(values.backend);
for (const name of values.backbone === undefined ? ['lxmert', 'vl-bert'] : [backbone(values.backbone).name]) await pretrain(name);

async function pretrain(name: string): Promise<void> {
  const vocabulary = demoVocabulary();
  const tokens = wordPiece(vocabulary);
  const { cls, sep, mask } = tokens.specials;
  const config = { ...Object(backbone(name).sizes.small), vocab_size: tokens.size, cls, sep, ...(name === 'vl-bert' && { mask }) };
  const model = backbone(name).build(config, initialised(seed, deviation));
  const learner = pretrainingModel(model, tokens.size, { shape: 4, colour: 9, size: 3 });
  const adapted = adapt(learner, [tune({ at: {} })], { seed });
  const scenes: SceneBatches = { seed, batchSize: 32, batches: 250, maskRate: 0.3 };
  const held: SceneBatches = { ...scenes, seed: seed + 1, batches: 16 };
  const work = join('out', 'pretrain', name);
  await mkdir(work, { recursive: true });
  console.log(`${name}: ${adapted.trainable.reduce((n, p) => n + p.variable.size, 0)} parameters, ${steps} steps of ${scenes.batchSize} scenes, backend ${engine.name}`);

  const started = performance.now();
  const run = fit<CaptionedScenes, PretrainingInputs, []>(
    adapted,
    {
      batches: (epoch, from) => sceneBatches(tokens, scenes, epoch, from),
      batchesPerEpoch: scenes.batches,
      inputs: (batch) => pretrainingInputs(model, batch),
      targets: () => [],
      samples: (batch) => batch.examples.ids,
      loss: (output) => pretrainingLoss(output),
      validate: (tuned) => heldOut(tuned, model, tokens, held),
    },
    {
      optimisers: {
        default: { method: adamW({ weightDecay: 0.01, exempt: biasesAndNorms }), rate, schedule: schedule({ shape: 'linear', warmup: { fraction: 0.06 } }) },
      },
      maxSteps: steps,
      seed,
      checkpoint: { directory: join(work, 'checkpoints'), every: 250 },
      resume: values.resume,
    },
  );
  const last: { metrics: Metrics } = { metrics: {} };
  run.events.subscribe((e) => {
    if (e.type === 'step' && e.step % 50 === 0) console.log(`${name} step ${e.step} loss ${e.loss.toFixed(3)}, ${e.samplesPerSecond.toFixed(0)} scenes/s, ${(e.eta / 60).toFixed(1)} min left`);
    if (e.type === 'evaluation') {
      last.metrics = e.metrics;
      console.log(`${name} step ${e.step} held out: ${Object.entries(e.metrics).map(([k, v]) => `${k} ${v.toFixed(4)}`).join(', ')}`);
    }
  });
  await run.done;

  const merged = await adapted.merge();
  const arrays = new Map([...merged].filter(([path]) => !path.startsWith('pretraining.')));
  const directory = join(values.out, `${name}-small`);
  await mkdir(directory, { recursive: true });
  const record = { command: `npm run pretrain -- --backbone ${name} --steps ${steps} --rate ${rate} --deviation ${deviation} --seed ${seed}`, backend: engine.name, scenes: steps * scenes.batchSize, minutes: Math.round((performance.now() - started) / 6000) / 10, heldOut: last.metrics };
  await atomically(join(directory, 'model.safetensors'), writeSafetensors(await toCheckpoint(arrays, model.keyOf), { format: 'pt' }));
  await atomically(join(directory, 'config.json'), `${JSON.stringify(model.config, null, 1)}\n`);
  await atomically(join(directory, 'vocab.txt'), vocabulary);
  await atomically(join(directory, 'pretraining.json'), `${JSON.stringify(record, null, 1)}\n`);
  console.log(`${name}: written to ${directory}`);
  tf.dispose([...merged.values()]);
  adapted.dispose();
}

/** Losses and accuracies on scenes that training never draws. */
async function heldOut(adapted: Adapted<PretrainingInputs>, model: VqaModel<unknown>, tokens: ReturnType<typeof wordPiece>, held: SceneBatches): Promise<Metrics> {
  const names = ['wordLoss', 'matchingLoss', 'attributeLoss', 'wordAccuracy', 'matchingAccuracy', 'attributeAccuracy'];
  const sums = names.map(() => 0);
  for await (const batch of sceneBatches(tokens, held, 1, 0)) {
    const inputs = pretrainingInputs(model, batch);
    const output = await adapted.forward(inputs);
    output.dataSync().forEach((x, i) => (sums[i]! += x / held.batches));
    tf.dispose([output, ...tensorsIn(inputs)]);
  }
  return Object.fromEntries(names.map((metric, i) => [metric, sums[i]!]));
}

async function atomically(path: string, content: string | Uint8Array): Promise<void> {
  await writeFile(`${path}.tmp`, content);
  await rename(`${path}.tmp`, path);
}
