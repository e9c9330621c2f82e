import * as tf from '@tensorflow/tfjs';
import { floats, positions } from '../conformance/givens.ts';
import { tensorsOf, type Given } from '../conformance/op-cases.ts';

const VOCABULARY = 12;
const WIDTH = 8;
const ANSWERS = 3;
const BATCH = 4;
const LENGTH = 5;

/** A training of embeddings, layer norm, attention, dropout and Adam by plain TensorFlow.js, whose host data are arguments. */
export interface SmallTraining {
  /** Arrays that differ from step to step: token ids, a dropout mask, targets, learning rate. */
  inputs(step: number): tf.Tensor[];
  /** One step: the loss; assigns the variables. */
  step(args: readonly tf.Tensor[]): tf.Tensor[];
  readonly variables: readonly tf.Variable[];
  dispose(): void;
}

export function smallTraining(): SmallTraining {
  const shapes: Record<string, number[]> = { table: [VOCABULARY, WIDTH], query: [WIDTH, WIDTH], key: [WIDTH, WIDTH], value: [WIDTH, WIDTH], gamma: [WIDTH], beta: [WIDTH], head: [WIDTH, ANSWERS] };
  const make = (given: Given) => tf.tidy(() => tf.variable(tensorsOf([given])[0]!));
  const weights = Object.fromEntries(Object.entries(shapes).map(([name, shape], i) => [name, make(floats(shape, i + 10))]));
  const slots = Object.values(weights).flatMap((w) => [0, 1].map(() => tf.tidy(() => tf.variable(tf.zeros(w.shape)))));
  const w = (name: string): tf.Variable => weights[name]!;

  const forward = (ids: tf.Tensor, mask: tf.Tensor): tf.Tensor => {
    const x = tf.reshape(tf.gather(w('table'), tf.reshape(ids, [-1]) as tf.Tensor1D), [BATCH, LENGTH, WIDTH]);
    const flat = tf.reshape(x, [-1, WIDTH]);
    const project = (name: string) => tf.reshape(tf.matMul(flat, w(name)), [BATCH, LENGTH, WIDTH]);
    const scores = tf.matMul(project('query'), project('key'), false, true);
    const attended = tf.mul(tf.matMul(tf.softmax(tf.div(scores, Math.sqrt(WIDTH))), project('value')), mask);
    const sum = tf.add(x, attended);
    const { mean, variance } = tf.moments(sum, -1, true);
    const normed = tf.add(tf.mul(tf.mul(tf.sub(sum, mean), tf.rsqrt(tf.add(variance, 1e-6))), w('gamma')), w('beta'));
    return tf.matMul(tf.mean(normed, 1), w('head')); // [B, A]
  };

  return {
    variables: [...Object.values(weights), ...slots],
    inputs: (step) => [
      ...tensorsOf([positions([BATCH, LENGTH], VOCABULARY, step), { ...floats([BATCH, LENGTH, WIDTH], step + 50), values: floats([BATCH, LENGTH, WIDTH], step + 50).values.map((v) => (v > -1.6 ? 1.1 : 0)) }]),
      tf.tidy(() => tf.oneHot(tensorsOf([positions([BATCH], ANSWERS, step + 20)])[0]!, ANSWERS, 1, 0, 'float32')),
      tf.scalar(0.02 / (1 + 0.1 * step)),
    ],
    step: ([ids, mask, targets, rate]) => {
      const variables = Object.values(weights);
      const { value, grads } = tf.variableGrads(() => tf.losses.softmaxCrossEntropy(targets!, forward(ids!, mask!)), variables);
      const gradients = variables.map((v) => grads[v.name]!);
      const norm = tf.sqrt(tf.addN(gradients.map((g) => tf.sum(tf.square(g)))));
      const factor = tf.minimum(1, tf.div(1, norm));
      variables.forEach((v, i) => {
        const [m, s] = [slots[2 * i]!, slots[2 * i + 1]!];
        const g = tf.mul(gradients[i]!, factor);
        m.assign(tf.add(tf.mul(m, 0.9), tf.mul(g, 0.1)));
        s.assign(tf.add(tf.mul(s, 0.99), tf.mul(tf.square(g), 0.01)));
        v.assign(tf.sub(v, tf.mul(rate!, tf.div(m, tf.add(tf.sqrt(s), 1e-4)))));
      });
      return [value];
    },
    dispose: () => tf.dispose([...Object.values(weights), ...slots]),
  };
}
