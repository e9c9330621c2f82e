import { adapt } from '@espalier/core';
import { selectBackend } from '@espalier/core/backend';
import { batches, shapes, trainWordPiece, wordPiece } from '@espalier/data';
import { lora } from '@espalier/lora';
import { adamW, answerLoss, fit, softAccuracy } from '@espalier/train';
import { tune } from '@espalier/tune';
import { backbone, initialised } from '@espalier/vl-models';
import * as tf from '@tensorflow/tfjs';

await selectBackend();
const data = shapes({ train: 40, test: 10 });
const tokenizer = wordPiece(trainWordPiece(data.splits.train.map((r) => r.question), { size: 150 }));
const kind = backbone('lxmert');
const model = kind.build({ ...kind.sizes.tiny, vocab_size: tokenizer.size }, initialised(0));
const adapted = adapt(model, [lora({ rank: 4 }), tune({ preset: 'head', answers: data.answers.length }, { as: 'head' })]);
console.log(adapted.explain());

const batchSize = 16;
const records = data.splits.train.slice(0, 64);
const run = fit(adapted, {
  batches: (epoch, start) => batches(records, { data, tokenizer, batchSize, start, shuffle: { seed: 0, epoch } }),
  batchesPerEpoch: Math.ceil(records.length / batchSize),
  inputs: (batch) => model.inputs(batch),
  targets: (batch) => tf.tensor2d(batch.targets, [batch.ids.length, batch.answers]),
  samples: (batch) => batch.ids,
  loss: answerLoss,
  score: softAccuracy,
}, { optimisers: { default: { method: adamW(), rate: 3e-3 } }, epochs: 3 });
const losses = [];
run.events.subscribe((e) => e.type === 'epoch' && losses.push(e.loss));
const { step } = await run.done;
if (!(losses.at(-1) < losses[0])) throw new Error(`the loss did not fall: ${losses.join(', ')}`);
console.log(`${step} steps, loss by epoch ${losses.map((x) => x.toFixed(3)).join(', ')}`);
