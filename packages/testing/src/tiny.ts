import * as tf from '@tensorflow/tfjs';
import { add, concat, gelu, random, reshape, scale, Scope, sequence, slice, streamOf, tanh, type Model, type Step, type Stream, type Streams, type TensorSource, type TokenMasks, type Value } from '@espalier/core';
import { TINY_SIZES, type TinyInputs } from './inputs.ts';
import { crossBlock, transformerBlock, type BlockSizes } from './tiny-blocks.ts';

/** A tiny model and its arrays. */
export interface TinyModel extends Model<TinyInputs> {
  readonly tensors: ReadonlyMap<string, tf.Tensor>; // by path: 'joint.0.attention.query.kernel'
  dispose(): void;
}

export interface TinyOptions {
  readonly seed?: number; // of the weights; default 0
  readonly dropout?: number; // default 0.1
  readonly answers?: number; // width of the logits; default 3
  readonly tensors?: TensorSource; // arrays to use instead of drawn ones; they then belong to the model
}

const SIZES: BlockSizes = { width: 16, heads: 2, inner: 32, dropout: 0.1 };

/** VL-BERT in small: text, regions and an end token in one stream `joint`, two blocks. */
export const tinyOneStream = (options: TinyOptions = {}): TinyModel =>
  build('tiny-one-stream', options, (root, sizes, answers) => {
    const { words, positions, segments, regionFeatures, boxFeatures } = TINY_SIZES;
    const scope = root.child('joint', { stream: 'joint' });
    const place = scope.child('embed');
    const word = place.embedding('embed.words', words, sizes.width, { padding: 0 });
    const position = place.embedding('embed.positions', positions, sizes.width);
    const segment = place.embedding('embed.segments', segments, sizes.width);
    const region = place.embedding('embed.regions', 1, sizes.width);
    const end = place.embedding('embed.end', 1, sizes.width);
    const vision = place.use(place.linear('embed.vision', regionFeatures, sizes.width));
    const box = place.use(place.linear('embed.boxes', boxFeatures, sizes.width));
    const norm = place.norm('embed.norm', sizes.width);
    const output = place.site('embed.output');
    const embed = place.source<TinyInputs>(['joint'], ({ ids, segments: kinds, textMask, features, boxes, visionMask }, step) => {
      const [batch, tokens] = ids.shape;
      const regions = features.shape[1];
      const rowOf = (length: number, row: number) => tf.fill([batch, length], row, 'int32');
      const seen = add(add(step.linear(vision, features), step.linear(box, boxes)), step.embed(region, rowOf(regions, 0)));
      const x = concat([step.embed(word, ids), seen, step.embed(end, rowOf(1, 0))], 1); // [B, T + R + 1, D]
      // Regions share a position, as in VL-BERT; the end token has the next.
      const at = tf.concat([upTo(batch, tokens), rowOf(regions, positions - 2), rowOf(1, positions - 1)], 1);
      const kind = tf.concat([kinds, rowOf(regions + 1, segments - 1)], 1);
      const sum = add(add(x, step.embed(position, at)), step.embed(segment, kind));
      const mask = tf.concat([textMask, visionMask, tf.ones([batch, 1])], 1);
      return { joint: { hidden: finish(step, output, step.norm(norm, sum), sizes.dropout), mask: additive(mask) } };
    });
    const blocks = [0, 1].map((i) => transformerBlock(scope.child(String(i), { block: i }), 'joint', sizes));
    const encoder = root.stage('encoder', sequence(...blocks), { streams: ['joint'] });
    const head = answerHead(root, 'joint', sizes.width, answers);
    return {
      encode: (inputs, step) => encoder(embed(inputs, step), step),
      answer: (streams, step) => head(streamOf(streams, 'joint'), step),
      tokens: ({ textMask, visionMask }) => {
        const { question, answer } = wordTokens(textMask);
        const behind = tf.zeros([textMask.shape[0], visionMask.shape[1] + 1]);
        const end = tf.zeros([textMask.shape[0], 1]);
        return { joint: { question: tf.concat([question!, behind], 1), answer: tf.concat([answer!, behind], 1), region: tf.concat([tf.zerosLike(textMask), visionMask, end], 1) } };
      },
    };
  });

/** LXMERT in small: a text block and a vision block, each over its own stream, then two cross blocks. */
export const tinyTwoStream = (options: TinyOptions = {}): TinyModel =>
  build('tiny-two-stream', options, (root, sizes, answers) => {
    const { words, positions, segments, regionFeatures, boxFeatures } = TINY_SIZES;
    const text = root.child('text', { stream: 'text' });
    const vision = root.child('vision', { stream: 'vision' });

    const inText = text.child('embed');
    const word = inText.embedding('embed.words', words, sizes.width, { padding: 0 });
    const position = inText.embedding('embed.positions', positions, sizes.width);
    const segment = inText.embedding('embed.segments', segments, sizes.width);
    const norm = inText.norm('embed.norm', sizes.width);
    const textOutput = inText.site('embed.output');
    const embedText = inText.source<TinyInputs>(['text'], ({ ids, segments: kinds, textMask }, step) => {
      const [batch, tokens] = ids.shape;
      const sum = add(add(step.embed(word, ids), step.embed(position, upTo(batch, tokens))), step.embed(segment, kinds));
      return { text: { hidden: finish(step, textOutput, step.norm(norm, sum), sizes.dropout), mask: additive(textMask) } };
    });

    const inVision = vision.child('embed');
    const feature = inVision.use(inVision.linear('embed.vision', regionFeatures, sizes.width));
    const featureNorm = inVision.norm('embed.vision.norm', sizes.width);
    const box = inVision.use(inVision.linear('embed.boxes', boxFeatures, sizes.width));
    const boxNorm = inVision.norm('embed.boxes.norm', sizes.width);
    const visionOutput = inVision.site('embed.output');
    const embedVision = inVision.source<TinyInputs>(['vision'], ({ features, boxes, visionMask }, step) => {
      const both = add(step.norm(featureNorm, step.linear(feature, features)), step.norm(boxNorm, step.linear(box, boxes)));
      return { vision: { hidden: finish(step, visionOutput, scale(both, 0.5), sizes.dropout), mask: additive(visionMask) } };
    });

    const both = ['text', 'vision'] as const;
    const cross = root.child('cross');
    const blocks = [
      transformerBlock(text.child('0', { block: 0 }), 'text', sizes),
      transformerBlock(vision.child('0', { block: 1 }), 'vision', sizes),
      ...[0, 1].map((i) => crossBlock(cross.child(String(i), { block: 2 + i }), both, sizes)),
    ];
    const encoder = root.stage('encoder', sequence(...blocks), { streams: both });
    const head = answerHead(root, 'text', sizes.width, answers);
    return {
      encode: (inputs, step) => encoder({ ...embedText(inputs, step), ...embedVision(inputs, step) }, step),
      answer: (streams, step) => head(streamOf(streams, 'text'), step),
      tokens: ({ textMask, visionMask }) => ({ text: wordTokens(textMask), vision: { region: visionMask } }),
    };
  });

/** tanh pooler over the first token, then linear, GELU, layer norm, linear: [B, T, D] -> [B, A]. */
function answerHead(root: Scope, stream: string, width: number, answers: number): (x: Stream, step: Step) => Value {
  const own = root.child('head', { stream });
  const pooler = own.use(own.linear('pooler', width, width));
  const pooled = own.site('pooled');
  const up = own.use(own.linear('head.up', width, 2 * width));
  const norm = own.norm('head.norm', 2 * width);
  const down = own.use(own.linear('head.down', 2 * width, answers));
  const logits = own.site('logits');
  return (x, step) => {
    const first = reshape(slice(x.hidden, [0, 0, 0], [-1, 1, -1]), [-1, width]); // [B, D]
    const p = step.at(pooled, tanh(step.linear(pooler, first)));
    return step.at(logits, step.linear(down, step.norm(norm, gelu(step.linear(up, p)))));
  };
}

/** A model before and after its streams. */
interface Halves {
  readonly encode: (inputs: TinyInputs, step: Step) => Streams;
  readonly answer: (streams: Streams, step: Step) => Value;
  readonly tokens: (inputs: TinyInputs) => Readonly<Record<string, TokenMasks>>;
}

/** The answer is read at the first word; all others are the question. */
function wordTokens(mask: tf.Tensor2D): TokenMasks {
  const [batch, tokens] = mask.shape;
  const first = tf.concat([tf.ones([batch, 1]), tf.zeros([batch, tokens - 1])], 1);
  return { question: tf.mul(mask, tf.sub(1, first)), answer: first };
}

function build(
  name: string,
  { seed = 0, dropout = SIZES.dropout, answers = 3, tensors: given }: TinyOptions,
  make: (root: Scope, sizes: BlockSizes, answers: number) => Halves,
): TinyModel {
  const tensors = new Map<string, tf.Tensor>();
  const source = given ?? drawn(seed);
  const scope = Scope.root((path, shape) => {
    const t = source(path, shape);
    tensors.set(path, t);
    return t;
  });
  const { encode, answer, tokens } = make(scope, { ...SIZES, dropout }, answers);
  return {
    name, scope, encode, tokens, tensors,
    forward: (inputs, step) => answer(encode(inputs, step), step),
    batch: ({ ids }) => ids.shape[0],
    build: (outputs, own) => build(name, { dropout, answers: outputs, tensors: own }, make),
    dispose: () => tf.dispose([...tensors.values()]),
  };
}

/** Arrays from the keyed generator: kernels of unit gain, and biases and gains that are no special case. */
export const drawn =
  (seed: number): TensorSource =>
  (path, shape) => {
    const part = path.slice(path.lastIndexOf('.') + 1);
    const generator = random(seed, 'tiny', path);
    const deviation = part === 'kernel' ? 1.5 / Math.sqrt(shape[0]!) : part === 'table' ? 0.7 : 0.2;
    const centre = part === 'gamma' ? 1 : 0;
    const values = Float32Array.from({ length: shape.reduce((a, b) => a * b, 1) }, () => centre + deviation * generator.normal());
    return tf.tensor(values, [...shape]);
  };

const finish = (step: Step, site: Parameters<Step['at']>[0], x: Value, dropout: number): Value => step.dropout(site, step.at(site, x), dropout);

/** 0 .. tokens - 1 in every row: [B, T]. */
const upTo = (batch: number, tokens: number): tf.Tensor => tf.tile(tf.reshape(tf.range(0, tokens, 1, 'int32'), [1, tokens]), [batch, 1]);

/** A mask of ones and zeros [B, T] as what is added to scores: [B, 1, 1, T]. */
const additive = (mask: tf.Tensor): tf.Tensor => tf.mul(tf.sub(1, tf.reshape(mask, [mask.shape[0]!, 1, 1, mask.shape[1]!])), -10_000);
