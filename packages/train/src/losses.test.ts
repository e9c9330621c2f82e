import * as tf from '@tensorflow/tfjs';
import { toBeAllClose, toLeakNothing, useCpu } from '@espalier/testing';
import { beforeAll, expect, it } from 'vitest';
import { answerLoss, klDivergence, rescaledSquare, softAccuracy, softmaxCrossEntropy } from './losses.ts';

beforeAll(useCpu);

const X = [[0.5, -1.25, 3], [-0.75, 2, 0.1]];
const Y = [[1, 0, 0.3], [0.6, 0, 0.9]];
const W = [[0.7, -0.2, 1.1], [0.4, 0.9, -0.6]];
const sigmoid = (x: number) => 1 / (1 + Math.exp(-x));

/** The directional second derivative d/dx <grad f(x), w>. */
const curvature = (f: (x: tf.Tensor) => tf.Scalar, x: tf.Tensor, w: tf.Tensor) => tf.grad((at: tf.Tensor) => tf.sum(tf.mul(tf.grad(f)(at), w)))(x);
/** (grad f(x + h w) - grad f(x - h w)) / 2 h. */
const difference = (f: (x: tf.Tensor) => tf.Scalar, x: tf.Tensor, w: tf.Tensor, h = 1e-2) =>
  tf.div(tf.sub(tf.grad(f)(tf.add(x, tf.mul(w, h))), tf.grad(f)(tf.sub(x, tf.mul(w, h)))), 2 * h);

it('answerLoss is the cross-entropy summed over answers, mean over the batch', () => {
  const expected = X.flatMap((row, i) => row.map((x, j) => -Y[i]![j]! * Math.log(sigmoid(x)) - (1 - Y[i]![j]!) * Math.log(1 - sigmoid(x))));
  const loss = answerLoss(tf.tensor2d(X), tf.tensor2d(Y));
  toBeAllClose(loss, tf.scalar(expected.reduce((a, b) => a + b) / 2), { relative: 1e-6 });
  toBeAllClose(loss, tf.mul(tf.losses.sigmoidCrossEntropy(Y, X), 3), { relative: 1e-6 });
});

it('answerLoss stays finite and exact at large logits', () => {
  const loss = answerLoss(tf.tensor2d([[200, -200]]), tf.tensor2d([[0, 1]]));
  toBeAllClose(loss, tf.scalar(400));
  const gradient = tf.grad((x: tf.Tensor) => answerLoss(x, tf.tensor2d([[0, 1]])))(tf.tensor2d([[200, -200]]));
  toBeAllClose(gradient, tf.tensor2d([[1, -1]]));
});

it('answerLoss has the gradient (sigmoid(x) - y) / B towards the logits and -x / B towards the targets', () => {
  const [dx, dy] = tf.grads((x: tf.Tensor, y: tf.Tensor) => answerLoss(x, y))([tf.tensor2d(X), tf.tensor2d(Y)]);
  toBeAllClose(dx!, tf.tensor2d(X.map((row, i) => row.map((x, j) => (sigmoid(x) - Y[i]![j]!) / 2))), { relative: 1e-6 });
  toBeAllClose(dy!, tf.tensor2d(X.map((row) => row.map((x) => -x / 2))), { relative: 1e-6 });
});

it('answerLoss is complete under second derivatives', () => {
  const [x, y, w] = [tf.tensor2d(X), tf.tensor2d(Y), tf.tensor2d(W)];
  const expected = X.map((row, i) => row.map((v, j) => (sigmoid(v) * (1 - sigmoid(v)) * W[i]![j]!) / 2));
  toBeAllClose(curvature((at) => answerLoss(at, y), x, w), tf.tensor2d(expected), { relative: 1e-6 });
  // through a product with the logits too, where the incoming derivative is not constant
  const squared = (at: tf.Tensor): tf.Scalar => tf.square(answerLoss(at, y));
  toBeAllClose(curvature(squared, x, w), difference(squared, x, w), { relative: 2e-3 });
});

it('softmaxCrossEntropy is -(1/B) sum y log softmax(x), with both derivatives', () => {
  const [x, y, w] = [tf.tensor2d(X), tf.tensor2d(Y), tf.tensor2d(W)];
  const soft = X.map((row) => row.map((v) => Math.exp(v) / row.reduce((a, b) => a + Math.exp(b), 0)));
  const expected = soft.flatMap((row, i) => row.map((p, j) => -Y[i]![j]! * Math.log(p)));
  toBeAllClose(softmaxCrossEntropy(x, y), tf.scalar(expected.reduce((a, b) => a + b) / 2), { relative: 1e-6 });
  const f = (at: tf.Tensor) => softmaxCrossEntropy(at, y);
  const gradient = soft.map((row, i) => row.map((p, j) => (p * Y[i]!.reduce((a, b) => a + b) - Y[i]![j]!) / 2));
  toBeAllClose(tf.grad(f)(x), tf.tensor2d(gradient), { relative: 1e-5 });
  toBeAllClose(curvature(f, x, w), difference(f, x, w), { relative: 2e-3 });
  toBeAllClose(tf.grad((at: tf.Tensor) => softmaxCrossEntropy(x, at))(y), tf.tensor2d(soft.map((row) => row.map((p) => -Math.log(p) / 2))), { relative: 1e-5 });
  const far = tf.tensor2d([[1000, 0, 0]]);
  toBeAllClose(softmaxCrossEntropy(far, tf.tensor2d([[0, 1, 0]])), tf.scalar(1000));
});

it('klDivergence is (1/B) sum over y > 0 of y (log y - log softmax(x)), with both derivatives', () => {
  const [x, y, w] = [tf.tensor2d(X), tf.tensor2d(Y), tf.tensor2d(W)];
  const soft = X.map((row) => row.map((v) => Math.exp(v) / row.reduce((a, b) => a + Math.exp(b), 0)));
  const expected = soft.flatMap((row, i) => row.map((p, j) => (Y[i]![j]! > 0 ? Y[i]![j]! * (Math.log(Y[i]![j]!) - Math.log(p)) : 0)));
  toBeAllClose(klDivergence(x, y), tf.scalar(expected.reduce((a, b) => a + b) / 2), { relative: 1e-6 });
  const f = (at: tf.Tensor) => klDivergence(at, y);
  const gradient = soft.map((row, i) => row.map((p, j) => (p * Y[i]!.reduce((a, b) => a + b) - Y[i]![j]!) / 2));
  toBeAllClose(tf.grad(f)(x), tf.tensor2d(gradient), { relative: 1e-5 });
  toBeAllClose(curvature(f, x, w), difference(f, x, w), { relative: 2e-3 });
  const ofTargets = (at: tf.Tensor) => klDivergence(x, at);
  const towards = soft.map((row, i) => row.map((p, j) => (Y[i]![j]! > 0 ? (Math.log(Y[i]![j]!) + 1 - Math.log(p)) / 2 : 0)));
  toBeAllClose(tf.grad(ofTargets)(y), tf.tensor2d(towards), { relative: 1e-5 });
  toBeAllClose(curvature(ofTargets, y, w), tf.tensor2d(Y.map((row, i) => row.map((v, j) => (v > 0 ? W[i]![j]! / v / 2 : 0)))), { relative: 1e-5 });
});

it.each([
  [1.3582392639300105, [[0.163513109, 0.661755919, -0.252159089, 0.699951768, 0.271049738, -0.10428334, 0.196084425], [0.168385491, 0.463340521, -0.233484253, 0.574234664, 0.251736909, -0.0905316845, 0.143597707]]],
  [1.359836449975865, [[0.157456964, 0.63989836, -0.316309631, 0.739690065, 0.295706242, -0.110513598, 0.154919475], [0.166236073, 0.445227832, -0.266395062, 0.594040155, 0.26368174, -0.0927187353, 0.114712171]]],
])('klDivergence gives %d as VisualBertForQuestionAnswering does for logits of its own', (expected, logits) => {
  toBeAllClose(klDivergence(tf.tensor2d(logits), tf.tensor2d([[0, 1, 0, 0.3, 0, 0, 0], [0, 0, 0, 0, 0, 0.6, 0]])), tf.scalar(expected), { relative: 1e-6 });
});

it('klDivergence of a softmax from itself is 0, and its logits may be far apart', () => {
  const x = tf.tensor2d(X);
  toBeAllClose(klDivergence(x, tf.softmax(x)), tf.scalar(0), { absolute: 1e-6 });
  toBeAllClose(klDivergence(tf.tensor2d([[1000, 0, 0]]), tf.tensor2d([[0, 1, 0]])), tf.scalar(1000));
});

it('softAccuracy is the mean target value at the largest logit', async () => {
  const found = softAccuracy(tf.tensor2d(X), tf.tensor2d(Y)); // answers 2 and 1: targets 0.3 and 0
  expect((await found.data())[0]).toBeCloseTo(0.15, 6);
});

it('none of them leaves arrays behind', async () => {
  const [x, y] = [tf.tensor2d(X), tf.tensor2d(Y)];
  for (const f of [answerLoss, klDivergence, softmaxCrossEntropy, softAccuracy]) await toLeakNothing(() => f(x, y).dispose());
  await toLeakNothing(() => tf.grad((at: tf.Tensor) => answerLoss(at, y))(x).dispose());
  await toLeakNothing(() => tf.grad((at: tf.Tensor) => klDivergence(x, at))(y).dispose());
});

it('rescaledSquare is (1/B) sum (1/A) sum (1 + (alpha - 1) y) (x - kappa y)^2, with both derivatives', () => {
  const [x, y, w] = [tf.tensor2d(X), tf.tensor2d(Y), tf.tensor2d(W)];
  const expected = X.flatMap((row, i) => row.map((v, j) => (1 + 2 * Y[i]![j]!) * (v - 5 * Y[i]![j]!) ** 2));
  const f = rescaledSquare({ kappa: 5, alpha: 3 });
  toBeAllClose(f(x, y), tf.scalar(expected.reduce((a, b) => a + b) / 6), { relative: 1e-6 });
  // One-hot targets: (alpha (x_y - kappa)^2 + the other squares) / A.
  toBeAllClose(rescaledSquare()(tf.tensor2d([[1, 2]]), tf.tensor2d([[0, 1]])), tf.scalar((1 + 13 ** 2) / 2), { relative: 1e-6 });
  const gradient = X.map((row, i) => row.map((v, j) => ((1 + 2 * Y[i]![j]!) * (v - 5 * Y[i]![j]!)) / 3));
  toBeAllClose(tf.grad((at: tf.Tensor) => f(at, y))(x), tf.tensor2d(gradient), { relative: 1e-5 });
  toBeAllClose(curvature((at) => f(at, y), x, w), difference((at) => f(at, y), x, w), { relative: 2e-3 });
  toBeAllClose(curvature((at) => f(x, at), y, w), difference((at) => f(x, at), y, w), { relative: 2e-3 });
});
