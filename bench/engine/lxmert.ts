import { Account, adapt, entriesOf, totalMacs, weightsOf, type Adapted, type Plugin } from '@espalier/core';
import { lora } from '@espalier/lora';
import { adamW, answerLoss, optimiserGroups } from '@espalier/train';
import { tune } from '@espalier/tune';
import { backbone, initialised, LxmertConfig, type VqaModel } from '@espalier/vl-models';
import * as tf from '@tensorflow/tfjs';
import { madeUpBatch } from '../batch.ts';

/** What is trained: low-rank updates of the self-attentions' queries and values, or everything. */
export type Kind = 'lora' | 'full';

const plugins: Readonly<Record<Kind, () => Plugin[]>> = {
  lora: () => [lora({ rank: 8, at: { role: ['attention.query', 'attention.value'] } })],
  full: () => [tune({ preset: 'all' }), tune({ preset: 'head' }, { as: 'head' })],
};

/** A training as `fit` runs it, without data and evaluation. */
export interface Training {
  readonly parameters: number; // of the backbone
  readonly trainable: number;
  /** Multiply-adds of one step on the whole batch, forward and backward, as the model asks for them. */
  macs(): Promise<number>;
  /** One step; milliseconds of learning (loss and gradients, read; of a forward pass the logits), and of moving the variables. */
  step(): Promise<{ learn: number; update: number; loss: number }>;
  readonly how: string | undefined; // the last step was run
}

interface Sizes {
  readonly size: 'tiny' | 'base';
  readonly batch: number;
  readonly words: number; // tokens of the question without [CLS] and [SEP]
  readonly regions: number;
}

/** A forward pass as evaluation runs it. */
export function answering(sizes: Sizes): Omit<Training, 'trainable'> {
  const model = modelOf(sizes);
  const adapted = adapt(model, []);
  const { inputs } = batchOf(model, sizes);
  const pass = async (): Promise<number> => {
    const logits = await adapted.forward(inputs);
    const [first] = await logits.data();
    logits.dispose();
    return first!;
  };
  return {
    parameters: parametersOf(model),
    macs: async () => totalMacs(await Account.of(1, async () => void (await pass()))),
    step: async () => {
      const began = performance.now();
      const loss = await pass();
      return { learn: performance.now() - began, update: 0, loss };
    },
    how: 'lazy',
  };
}

/** The shapes of VQA: 8 pairs of 20 text tokens and 36 regions. */
export const VQA: Sizes = { size: 'base', batch: 8, words: 18, regions: 36 };

/** A model with weights drawn by a seed, and without dropout. */
export function modelOf({ size }: Sizes): VqaModel<unknown> {
  const kind = backbone('lxmert');
  const config = LxmertConfig.parse({ ...LxmertConfig.parse(kind.sizes[size]), hidden_dropout_prob: 0, attention_probs_dropout_prob: 0 });
  return kind.build(config, initialised(0));
}

/** Inputs and targets of made-up pairs. */
export function batchOf(model: VqaModel<unknown>, { batch, words, regions }: Sizes): { inputs: unknown; targets: tf.Tensor2D } {
  const { vocab_size: vocabulary, num_qa_labels: answers } = LxmertConfig.parse(model.config);
  const examples = madeUpBatch({ batch, words, regions, features: model.featureSize, answers, vocabulary: vocabulary - 5 });
  return { inputs: model.inputs(examples), targets: tf.tensor2d(examples.targets, [batch, answers]) };
}

export const learnerOf = (adapted: Adapted<unknown>, capture: boolean) =>
  adapted.learner<tf.Tensor2D>({ loss: (output, targets) => answerLoss(output, targets), capture });

export function training(kind: Kind, sizes: Sizes, { capture = true }: { capture?: boolean } = {}): Training {
  const model = modelOf(sizes);
  const adapted = adapt(model, plugins[kind]());
  const { inputs, targets } = batchOf(model, sizes);
  const samples = Array.from({ length: sizes.batch }, (_, i) => String(i));
  const learner = learnerOf(adapted, capture);
  const groups = optimiserGroups(adapted.trainable, Object.fromEntries([...new Set(adapted.trainable.map((p) => p.group))].map((g) => [g, { method: adamW(), rate: 1e-5 }])));
  let step = 0;
  return {
    parameters: parametersOf(model),
    trainable: adapted.trainable.reduce((sum, p) => sum + p.variable.size, 0),
    macs: async () => {
      const plain = learnerOf(adapted, false);
      return totalMacs(await Account.of(1, async () => (await plain.learn(inputs, targets, { seed: 0, step: 0, samples })).dispose()));
    },
    step: async () => {
      const began = performance.now();
      const lesson = await learner.learn(inputs, targets, { seed: 0, step: ++step, samples });
      const [loss] = await lesson.scalars.data();
      const learned = performance.now();
      groups.update(lesson.gradients, step, 1000, () => 1);
      const updated = performance.now();
      lesson.dispose();
      return { learn: learned - began, update: updated - learned, loss: loss! };
    },
    get how() {
      return learner.last;
    },
  };
}

const parametersOf = ({ scope }: VqaModel<unknown>): number => weightsOf(scope).reduce((sum, w) => sum + entriesOf(w.pretrained).reduce((n, [, x]) => n + sizeOf(x.shape), 0), 0);
const sizeOf = (shape: readonly number[]): number => shape.reduce((a, b) => a * b, 1);
