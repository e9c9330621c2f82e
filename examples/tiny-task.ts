import { shapes, batches, trainWordPiece, wordPiece } from '@espalier/data';
import { answerLoss, softAccuracy, type Task } from '@espalier/train';
import { backbone, initialised, type VqaExamples, type VqaModel } from '@espalier/vl-models';
import * as tf from '@tensorflow/tfjs';

/** A few dozen questions about generated scenes and a tiny untrained backbone: enough to see a plugin learn in seconds. */
export function tinyTask(name = 'lxmert', questions = 96) {
  const data = shapes({ train: 40, test: 10 });
  const tokenizer = wordPiece(trainWordPiece(data.splits.train.map((r) => r.question), { size: 150 }));
  const { build, sizes } = backbone(name);
  const model: VqaModel<unknown> = build({ ...Object(sizes.tiny), vocab_size: tokenizer.size }, initialised(0));
  const records = data.splits.train.slice(0, questions);
  const batchSize = 16;
  const task: Task<VqaExamples, unknown> = {
    batches: (epoch, start) => batches(records, { data, tokenizer, batchSize, start, shuffle: { seed: 0, epoch } }),
    batchesPerEpoch: Math.ceil(records.length / batchSize),
    inputs: (batch) => model.inputs(batch),
    targets: (batch) => tf.tensor2d(batch.targets, [batch.ids.length, batch.answers]),
    samples: (batch) => batch.ids,
    loss: answerLoss,
    score: softAccuracy,
  };
  return { model, task, answers: data.answers.length };
}
