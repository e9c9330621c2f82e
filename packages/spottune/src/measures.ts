import * as tf from '@tensorflow/tfjs';
import { measure, type Hook, type Measured, type Step } from '@espalier/core';
import { gateCount, type Unit } from './units.ts';

/** Rows that a step runs, side by side. */
export interface Numbers {
  readonly gates: tf.Tensor; // [B, D] or [1, D]
  readonly probabilities: tf.Tensor; // the same
}

/** For `measurements`: which gates each sample opens, and with which probability, laid out by stage and component. */
export function gateMeasures(units: readonly Unit[], numbers: (step: Step) => Numbers): Hook[] {
  const of = units.flatMap(placed);
  const all = (x: tf.Tensor, step: Step) => tf.broadcastTo(tf.reshape(x, [-1, gateCount(units)]), [step.samples.length, gateCount(units)]);
  return [
    measure('open', of, (step) => all(numbers(step).gates, step)),
    measure('probability', of, (step) => all(numbers(step).probabilities, step), { probability: true }),
  ];
}

/** 'cross.0.text.attention.heads' with 2 heads: row 'cross.0.text', columns 'attention.heads 0' and 'attention.heads 1'. */
function placed({ stage: { path, role }, width }: Unit): Measured[] {
  const row = path.endsWith(`.${role}`) ? path.slice(0, -role.length - 1) : path;
  return Array.from({ length: width }, (_, i) => ({ row, column: width > 1 ? `${role} ${i}` : role }));
}
