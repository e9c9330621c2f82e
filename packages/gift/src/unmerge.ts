import * as tf from '@tensorflow/tfjs';
import { EspalierError, RefusedError, type Adapted } from '@espalier/core';
import { attachedTo } from './attached.ts';
import { inverse } from './inverse.ts';
import type { Residual } from './residual.ts';

export interface UnmergeOptions {
  readonly instance?: string; // default 'gift'
}

/**
 * The arrays of the base from merged ones, without a copy of it: (I + phi psi)^-1 = I - phi (I + psi phi)^-1 psi, in which
 * only an [r, r] matrix is inverted. Takes what `adapted.merge()` gave, by tensor path; the caller disposes the result.
 * @throws RefusedError when g is not the identity, when another plugin acts on the same weight, and when I + psi phi is
 * singular. @throws EspalierError when an array is missing.
 */
export async function unmerge<I>(
  adapted: Adapted<I>,
  merged: ReadonlyMap<string, tf.Tensor>,
  { instance = 'gift' }: UnmergeOptions = {},
): Promise<ReadonlyMap<string, tf.Tensor>> {
  const { settings, groups } = attachedTo(adapted, instance);
  const { generator, activation } = settings;
  if (generator !== 'linear' || activation !== 'identity')
    throw new RefusedError(`'${instance}' cannot be unmerged: the update of generator '${generator}'${generator === 'linear' ? ` with activation '${activation}'` : ''} is generated from the base itself. Keep the base's arrays.`);
  for (const { group, residual } of groups) {
    const own = new Set([...group.linears, residual.phi, residual.psi].map((p) => p.id));
    const other = adapted.plan.hooks.find((h) => own.has(h.at.id) && h.kind === 'weight' && h.instance !== instance);
    if (other) throw new RefusedError(`'${instance}' cannot be unmerged: '${other.instance}' acts on '${other.at.path}' too. Take it off with without('${other.instance}') before merging.`);
    for (const { path } of group.linears) if (!merged.has(`${path}.kernel`)) throw new EspalierError(`unmerge: '${path}.kernel' is missing from the merged arrays`);
  }
  const result = new Map<string, tf.Tensor>();
  try {
    for (const { group, residual } of groups) {
      const back = await inverseOf(residual, instance, group.name);
      for (const { path } of group.linears) result.set(`${path}.kernel`, tf.tidy(() => back(merged.get(`${path}.kernel`)!)));
      tf.dispose(back.held);
    }
    for (const [path, x] of merged) if (!result.has(path)) result.set(path, x.clone());
    return result;
  } catch (e) {
    tf.dispose([...result.values()]);
    throw e;
  }
}

/** K^ -> K^ - psi' (I + phi' psi')^-1 phi' K^, of K^ without the biases: in kernels [in, out] the factors are transposed. */
async function inverseOf({ phi, psi, gamma, beta }: Residual, instance: string, group: string) {
  const [width, rank] = phi.variable.shape as [number, number];
  const [down, up] = [await phi.variable.data<'float32'>(), await psi.variable.data<'float32'>()];
  const small = Array.from({ length: rank }, (_, i) =>
    Array.from({ length: rank }, (_, j) => {
      let sum = i === j ? 1 : 0;
      for (let k = 0; k < width; k++) sum += down[k * rank + i]! * up[j * width + k]!;
      return sum;
    }),
  );
  const inner = inverse(small);
  if (!inner) throw new RefusedError(`'${instance}' cannot be unmerged: I + psi phi of '${group}' is singular, so W (I + phi psi) has lost part of W. Keep the base's arrays.`);
  const held = tf.tensor2d(inner);
  const back = (merged: tf.Tensor): tf.Tensor => {
    let k = merged;
    if (gamma) k = tf.sub(k, tf.matMul(psi.variable, tf.reshape(gamma.variable, [rank, 1]), true)); // the same for every output
    if (beta) k = tf.sub(k, tf.reshape(beta.variable, [width, 1]));
    return tf.sub(k, tf.matMul(tf.transpose(psi.variable), tf.matMul(held, tf.matMul(tf.transpose(phi.variable), k))));
  };
  return Object.assign(back, { held });
}
