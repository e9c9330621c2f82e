import * as tf from '@tensorflow/tfjs';

/**
 * Binary cross-entropy summed over answers, mean over the batch:
 * (1/B) sum max(x, 0) - x y + log(1 + exp(-|x|)); logits and soft targets [B, A]. The loss of VL-BERT and LXMERT for VQA.
 * The gradient is (sigmoid(x) - y) / B; complete in both arguments, and differentiable itself.
 */
export const answerLoss = (logits: tf.Tensor, targets: tf.Tensor): tf.Scalar =>
  mean(logits, targets, {
    value: (x, y) => tf.add(tf.sub(tf.relu(x), tf.mul(x, y)), tf.log1p(tf.exp(tf.neg(tf.abs(x))))),
    towardsLogits: (x, y) => tf.sub(tf.sigmoid(x), y),
    towardsTargets: (x) => tf.neg(x),
  });

/**
 * Cross-entropy of a softmax over answers: -(1/B) sum y log softmax(x); logits and targets [B, A]. A row of zero targets
 * adds nothing. The gradient is (softmax(x) sum y - y) / B; complete in both arguments, and differentiable itself.
 */
export const softmaxCrossEntropy = (logits: tf.Tensor, targets: tf.Tensor): tf.Scalar =>
  mean(logits, targets, {
    value: (x, y) => tf.mul(y, surprise(x)),
    towardsLogits: (x, y) => tf.sub(tf.mul(tf.softmax(x), tf.sum(y, -1, true)), y),
    towardsTargets: surprise,
  });

/**
 * Kullback-Leibler divergence from a softmax to soft targets: (1/B) sum over y > 0 of y (log y - log softmax(x)); logits and
 * targets [B, A]. Targets need not sum to 1. The loss of VisualBERT for VQA (arXiv 1908.03557). The gradients are
 * (softmax(x) sum y - y) / B and, where y > 0, (log y + 1 - log softmax(x)) / B; both differentiable themselves.
 */
export const klDivergence = (logits: tf.Tensor, targets: tf.Tensor): tf.Scalar =>
  mean(logits, targets, {
    value: (x, y) => tf.mul(tf.relu(y), tf.add(logOfPositive(y), surprise(x))),
    towardsLogits: (x, y) => tf.sub(tf.mul(tf.softmax(x), tf.sum(tf.relu(y), -1, true)), tf.relu(y)),
    towardsTargets: (x, y) => tf.mul(tf.step(y), tf.add(tf.add(logOfPositive(y), 1), surprise(x))),
  });

export interface SquareOptions {
  readonly kappa?: number; // what the right answer's output should be; default 15
  readonly alpha?: number; // weight of the right answer beside the wrong ones; default 1
}

/**
 * Rescaled square loss: (1/B) sum over samples of (1/A) sum over answers of (1 + (alpha - 1) y) (x - kappa y)^2; outputs x and
 * soft targets y [B, A]. For one-hot targets that is (alpha (x_y - kappa)^2 + sum of the other x^2) / A (arXiv 2307.08122).
 */
export const rescaledSquare = ({ kappa = 15, alpha = 1 }: SquareOptions = {}) => {
  const off = (x: tf.Tensor, y: tf.Tensor) => tf.sub(x, tf.mul(kappa, y));
  const weight = (y: tf.Tensor) => tf.add(1, tf.mul(alpha - 1, y));
  return (logits: tf.Tensor, targets: tf.Tensor): tf.Scalar => {
    const each = 1 / logits.shape[1]!;
    return mean(logits, targets, {
      value: (x, y) => tf.mul(each, tf.mul(weight(y), tf.square(off(x, y)))),
      towardsLogits: (x, y) => tf.mul(2 * each, tf.mul(weight(y), off(x, y))),
      towardsTargets: (x, y) => tf.mul(each, tf.sub(tf.mul(alpha - 1, tf.square(off(x, y))), tf.mul(2 * kappa, tf.mul(weight(y), off(x, y))))),
    });
  };
};

/** Mean target value at the largest logit, the soft accuracy of VQA v2; logits and targets [B, A]. */
export const softAccuracy = (logits: tf.Tensor, targets: tf.Tensor): tf.Scalar =>
  tf.tidy(() => {
    const chosen = tf.oneHot(tf.argMax(logits, 1), logits.shape[1]!);
    return scalar(tf.div(tf.sum(tf.mul(chosen, targets)), logits.shape[0]!));
  });

interface Terms {
  readonly value: (x: tf.Tensor, y: tf.Tensor) => tf.Tensor;
  readonly towardsLogits: (x: tf.Tensor, y: tf.Tensor) => tf.Tensor;
  readonly towardsTargets: (x: tf.Tensor, y: tf.Tensor) => tf.Tensor;
}

/** (1/B) sum of elementwise terms [B, A], with their gradients in closed form: fewer arrays are kept for the backward pass. */
function mean(logits: tf.Tensor, targets: tf.Tensor, { value, towardsLogits, towardsTargets }: Terms): tf.Scalar {
  const batch = logits.shape[0]!;
  const op = tf.customGrad((...args) => {
    const [x, y, save] = args as [tf.Tensor, tf.Tensor, tf.GradSaveFunc];
    save([x, y]);
    return {
      value: tf.div(tf.sum(value(x, y)), batch),
      gradFunc: (dy: tf.Tensor, saved: tf.Tensor[]) => {
        const [s, t] = saved as [tf.Tensor, tf.Tensor];
        const each = tf.div(dy, batch);
        return [tf.mul(towardsLogits(s, t), each), tf.mul(towardsTargets(s, t), each)];
      },
    };
  });
  return tf.tidy(() => scalar(op(logits, targets)));
}

/** -log softmax(x) over the last axis. tf.logSoftmax has no second derivative. */
const surprise = (x: tf.Tensor): tf.Tensor => tf.sub(tf.logSumExp(x, -1, true), x);

/** log y where y > 0, else 0 with derivative 0. */
const logOfPositive = (y: tf.Tensor): tf.Tensor => tf.log(tf.add(tf.relu(y), tf.sub(1, tf.step(y))));

const scalar = (x: tf.Tensor): tf.Scalar => tf.reshape<tf.Rank.R0>(x, []);
