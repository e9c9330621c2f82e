import * as tf from '@tensorflow/tfjs';
import { evaluate, gelu, reshape, slice, streamOf, tanh, type LinearSite, type Model, type Scope, type Step, type Streams, type Value } from '@espalier/core';
import type { VqaModel } from '@espalier/vl-models';

/** Classes of a region's attributes; index 0 of each is "background". */
export interface AttributeSizes {
  readonly shape: number;
  readonly colour: number;
  readonly size: number;
}
export const ATTRIBUTES = ['shape', 'colour', 'size'] as const;

/** A backbone's inputs with what the three objectives ask of them. */
export interface PretrainingInputs {
  readonly model: unknown; // the backbone's own inputs
  readonly tokens: number; // S, length of the text with special tokens
  readonly regions: number; // R
  readonly words: tf.Tensor2D; // int32 [B, S]: the id behind each [MASK], 0 where nothing was masked
  readonly matched: tf.Tensor1D; // [B]: 1 where the caption is true of the image, 0 where it is false, -1 where it is not asked
  readonly attributes: Readonly<Record<(typeof ATTRIBUTES)[number], tf.Tensor2D>>; // int32 [B, R]
}

/**
 * A backbone under the three pre-training objectives of LXMERT that need no question: masked words, image-text matching
 * and attribute prediction of regions. The output is [masked, matching, attribute loss, and an accuracy of each].
 * The heads are places of the same scope, so that whatever trains "everything" trains them too.
 */
export function pretrainingModel(backbone: VqaModel<unknown>, vocabulary: number, sizes: AttributeSizes): Model<PretrainingInputs> {
  const { scope } = backbone;
  const width = scope.points.norm.find((n) => n.role === 'attention.norm')!.dim;
  const head = (name: string, outputs: number): LinearSite => {
    const place = scope.child('pretraining').child(name);
    return place.use(place.linear('head.down', width, outputs));
  };
  const words = wordHead(scope, width, vocabulary);
  const matching = head('matching', 1);
  const attributes = ATTRIBUTES.map((name) => ({ name, site: head(name, sizes[name]) }));
  const view = backbone.name === 'lxmert' ? twoStreams(scope) : oneStream;
  return {
    name: `${backbone.name}-pretraining`,
    scope,
    batch: (inputs) => inputs.matched.shape[0],
    forward(inputs, step) {
      const streams = backbone.encode(inputs.model, step);
      const { text, regions, pooled } = view(streams, inputs, step);
      const masked = crossEntropy(flat(words(text, step)), tf.reshape(inputs.words, [-1]) as tf.Tensor1D, true);
      const match = binary(evaluate(step.linear(matching, pooled)), inputs.matched);
      const each = attributes.map(({ name, site }) => crossEntropy(flat(step.linear(site, regions)), tf.reshape(inputs.attributes[name], [-1]) as tf.Tensor1D, false));
      const mean = (xs: tf.Tensor[]) => tf.div(tf.addN(xs), xs.length);
      return tf.stack([masked.loss, match.loss, mean(each.map((e) => e.loss)), masked.accuracy, match.accuracy, mean(each.map((e) => e.accuracy))].map((x) => tf.reshape(x, [])));
    },
  };
}

/** The sum of the three losses of an output. */
export const pretrainingLoss = (output: tf.Tensor): tf.Scalar => tf.sum(tf.slice(output, [0], [3])) as tf.Scalar;

/** GELU and LayerNorm before the vocabulary; VL-BERT's VQA head starts from this transform, so it shares its parameters where the widths agree. */
function wordHead(scope: Scope, width: number, vocabulary: number) {
  const place = scope.child('pretraining').child('words');
  const shared = scope.points.linear.find((l) => l.role === 'head.up' && l.in === width && l.out === width);
  const up = place.use(shared ?? place.linear('head.up', width, width));
  const norm = (shared && scope.points.norm.find((n) => n.role === 'head.norm')) ?? place.norm('head.norm', width);
  const down = place.use(place.linear('head.down', width, vocabulary));
  return (x: Value, step: Step): Value => step.linear(down, step.norm(norm, gelu(step.linear(up, x))));
}

interface Readout {
  readonly text: Value; // [B, S, D]
  readonly regions: Value; // [B, R, D]
  readonly pooled: Value; // [B, D]
}
type View = (streams: Streams, inputs: PretrainingInputs, step: Step) => Readout;

/** LXMERT: the streams as they are; pooled is tanh of the pooler over [CLS]. */
function twoStreams(scope: Scope): View {
  const pooler = scope.child('pretraining').use(scope.points.linear.find((l) => l.role === 'pooler')!);
  return (streams, _, step) => {
    const text = streamOf(streams, 'text').hidden;
    return { text, regions: streamOf(streams, 'vision').hidden, pooled: tanh(step.linear(pooler, firstToken(text))) };
  };
}

/** VL-BERT: text first, then the whole image, then regions; pooled is the last [MASK], where answers are read. */
const oneStream: View = (streams, { tokens, regions, model }) => {
  const joint = streamOf(streams, 'joint').hidden;
  const [batch, , width] = joint.shape as [number, number, number];
  const rows = answerRows(model);
  return {
    text: slice(joint, [0, 0, 0], [batch, tokens, width]),
    regions: slice(joint, [0, tokens + 1, 0], [batch, regions, width]),
    pooled: tf.gather(tf.reshape(evaluate(joint), [-1, width]), rows),
  };
};

function answerRows(inputs: unknown): tf.Tensor1D {
  if (typeof inputs === 'object' && inputs !== null && 'answerRows' in inputs && inputs.answerRows instanceof tf.Tensor) return inputs.answerRows as tf.Tensor1D;
  throw new Error('a one-stream model names the rows of its [MASK] in answerRows');
}

function firstToken(x: Value): Value {
  const [batch, , width] = x.shape as [number, number, number];
  return reshape(slice(x, [0, 0, 0], [batch, 1, width]), [batch, width]);
}

/** [B, T, D] -> [B T, D]. */
const flat = (x: Value): tf.Tensor2D => tf.reshape(evaluate(x), [-1, x.shape.at(-1)!]) as tf.Tensor2D;

/** Mean cross-entropy and accuracy over rows; with `skipZero` rows whose label is 0 do not count. */
function crossEntropy(logits: tf.Tensor2D, labels: tf.Tensor1D, skipZero: boolean) {
  const weights = skipZero ? tf.cast(tf.notEqual(labels, 0), 'float32') : tf.onesLike(tf.cast(labels, 'float32'));
  const count = tf.maximum(tf.sum(weights), 1);
  const oneHot = tf.oneHot(labels, logits.shape[1]);
  const each = tf.neg(tf.sum(tf.mul(tf.logSoftmax(logits), tf.cast(oneHot, 'float32')), -1));
  const right = constant(() => tf.cast(tf.equal(tf.argMax(logits, -1), labels), 'float32'), logits);
  return { loss: tf.div(tf.sum(tf.mul(each, weights)), count), accuracy: tf.div(tf.sum(tf.mul(right, weights)), count) };
}

/** Mean binary cross-entropy and accuracy over rows with a label of 0 or 1; [B, 1], [B]. */
function binary(logits: tf.Tensor, labels: tf.Tensor1D) {
  const asked = tf.cast(tf.greaterEqual(labels, 0), 'float32');
  const count = tf.maximum(tf.sum(asked), 1);
  const x = tf.reshape(logits, [-1]);
  const each = tf.add(tf.sub(tf.relu(x), tf.mul(x, labels)), tf.log1p(tf.exp(tf.neg(tf.abs(x)))));
  const right = constant(() => tf.cast(tf.equal(tf.cast(tf.greater(x, 0), 'float32'), labels), 'float32'), x);
  return { loss: tf.div(tf.sum(tf.mul(each, asked)), count), accuracy: tf.div(tf.sum(tf.mul(right, asked)), count) };
}

/** A value that depends on x but carries no gradient: comparisons have none in tfjs. */
function constant(f: () => tf.Tensor, x: tf.Tensor): tf.Tensor {
  const op = tf.customGrad((...args) => ({ value: f(), gradFunc: () => tf.zerosLike(args[0] as tf.Tensor) }));
  return op(x);
}
