import * as tf from '@tensorflow/tfjs';
import {
  add, kaiming, matMul, reshape, transpose, withLowRank, zeros,
  type Activation, type LinearParams, type LinearPoint, type ParameterPoint, type Value,
} from '@espalier/core';
import { biasOf, type Read, type Variables } from './dense.ts';
import { generatorOf } from './generator.ts';
import type { Group } from './groups.ts';
import type { Settings } from './options.ts';
import { positionsOf } from './positions.ts';

/** What a group of linears shares. */
export interface Residual {
  readonly phi: ParameterPoint; // [in, r]
  readonly psi: ParameterPoint; // [r, in]
  readonly gamma: ParameterPoint | undefined; // [r]
  readonly beta: ParameterPoint | undefined; // [in]
  /** p with the tail psi' g(phi' K) of a linear. */
  lowRank(p: LinearParams, at: LinearPoint, read: Read): LinearParams;
  /** x -> (x + (x psi') phi') K + bias, which generates nothing; undefined where g is not the identity. */
  readonly activation: Activation | undefined;
  /** Read-outs over the output channels of a linear, from its pretrained kernel: [out, M]. */
  clusters(at: LinearPoint, read: Read): Value;
}

/**
 * delta K = psi' g(phi' K + gamma) + beta 1', with `phi` [in, r] uniform within 1 / sqrt(in) and `psi` [r, in] zero. K is the
 * kernel [in, out], the transpose of the papers' W.
 */
export function residualOf(variables: Variables, group: Group, settings: Settings): Residual {
  const { name, in: width } = group;
  const { rank, inBias, outBias, form } = settings;
  const phi = variables(`${name}.phi`, [width, rank], kaiming);
  const psi = variables(`${name}.psi`, [rank, width], zeros);
  const gamma = inBias ? variables(`${name}.gamma`, [rank], biasOf(width)) : undefined;
  const beta = outBias ? variables(`${name}.beta`, [width], zeros) : undefined;
  const positions = positionsOf(variables, group, settings);
  const { generate, clusters } = generatorOf(variables, group, settings);

  const compress = (p: LinearParams, at: LinearPoint, read: Read): Value => {
    // Kernels stand on the right and are not transposed: that product has a fast path on every backend.
    const down = flip(read(phi));
    // The kernel with its tail, which another GIFT may have left there, without forming it.
    let c = p.lowRank.reduce((sum, { a, b }) => add(sum, matMul(matMul(down, a), b)), matMul(down, p.kernel)); // [r, out]
    if (gamma) c = add(c, reshape(read(gamma), [rank, 1]));
    return positions ? positions(c, at, down, read) : c;
  };

  const lowRank: Residual['lowRank'] = (p, at, read) => {
    const c = compress(p, at, read);
    const q = withLowRank(p, flip(read(psi)), generate ? generate(c, read) : c);
    return beta ? withLowRank(q, reshape(read(beta), [width, 1]), tf.ones([1, at.out])) : q;
  };

  const activation: Activation = (x, p, step) => {
    const flat = reshape(x, [-1, width]); // [B T, in]
    const change = matMul(matMul(flat, flip(step.read(psi))), flip(step.read(phi)));
    const moved = add(flat, change);
    let y = step.by('', () => matMul(moved, p.kernel)); // the model's own product
    if (beta) y = add(y, matMul(flat, reshape(step.read(beta), [width, 1]))); // one number per token, to every output
    if (p.bias) y = add(y, p.bias);
    return reshape(y, [...x.shape.slice(0, -1), y.shape.at(-1)!]);
  };

  return {
    phi, psi, gamma, beta, lowRank,
    activation: generate || gamma || form === 'low-rank' ? undefined : activation,
    clusters: (at, read) => clusters(compress(at.pretrained, at, read), read),
  };
}

const flip = (x: Value): Value => transpose(x, [1, 0]);
