import * as tf from '@tensorflow/tfjs';
import { add, liftElementwise, mask, mul, normal, OptionsError, primal, reshape, streamOf, sum, unitRows, zeros, type Host, type Initializer, type ParameterPoint, type Step, type TokenKind, type Value } from '@espalier/core';
import type { Context } from './context.ts';
import type { Descent } from './layout.ts';
import { dense, identity, lowRank, type RowMap } from './maps.ts';
import type { Settings } from './options.ts';

/** clip(x, 0, 1); slope 1 on [0, 1] inclusive, as torch's. */
const clip = liftElementwise(
  (x) => tf.clipByValue(x, 0, 1),
  (x) => tf.cast(tf.logicalAnd(tf.greaterEqual(x, 0), tf.lessEqual(x, 1)), 'float32'),
);

/** s = clip(cos(x, xi), 0, 1): [B, T, d], and xi [1 or B, 1 or T, d] -> [B, T, 1]. */
export const gateOf = (x: Value, xi: Value): Value => clip(sum(mul(unitRows(x), unitRows(xi)), [-1], true));

export interface Selection {
  /** How much of each token is fed back, [B, T, 1]; undefined is all of it. */
  gate(context: Context, step: Step): Value | undefined;
  /** (s x) P of the top features x: [B, T, d]. */
  selected(context: Context, gate: Value | undefined, step: Step): Value;
}

/** Which tokens and channels of a stream's top features are fed back. @throws OptionsError for a task vector that the model cannot have. */
export function selectionOf(host: Host, { stream, width }: Descent, settings: Settings): Selection {
  const xi = settings.gate ? taskVector(host, stream, width, settings) : undefined;
  const p = settings.freezeP || settings.feedback === 'composed' ? undefined : dense(host, `${stream}.p`, width, identity);
  return {
    gate: (context, step) => xi && gateOf(streamOf(context.top, stream).hidden, xi(context, step)),
    selected: ({ top }, gate, step) => {
      const x = streamOf(top, stream).hidden;
      const chosen = gate ? mul(x, gate) : x;
      return p ? reshape(p(reshape(chosen, [-1, width]), step), x.shape) : chosen;
    },
  };
}

/** xi, or xi + U f of a top feature f: [1 or B, 1 or T, d]. */
function taskVector(host: Host, stream: string, width: number, settings: Settings): (context: Context, step: Step) => Value {
  const { task, vectors, crossTop, taskRank } = settings;
  requireTokens(host, settings);
  const start = settings.init === 'paper' ? normal(1) : usualDirection(host, stream, settings.from);
  const vector = (name: string): ParameterPoint => host.variable(`${stream}.${name}`, [width], start);
  const map = (name: string): RowMap => (taskRank === undefined ? dense(host, `${stream}.${name}`, width, zeros) : lowRank(host, `${stream}.${name}`, width, taskRank, 1));
  const names = vectors === 'modality' ? ['xi.text', 'xi.region'] : ['xi'];
  const [own, ofRegions] = names.map(vector);
  const read = (v: ParameterPoint, step: Step) => reshape(step.read(v), [1, 1, width]);
  const parts: (readonly [kind: TokenKind, map: RowMap])[] = [];
  if (task !== 'static') parts.push([task, map('u')]);
  // The stream that the answer is read from needs no second way to it.
  if (crossTop && stream !== answerStream(host)) parts.push(['answer', map('cross')]);
  return (context, step) => {
    let xi = read(own!, step);
    if (ofRegions) {
      const region = context.mask(stream, 'region')!; // one stream has them all
      const at = tf.expandDims(region, -1); // [B, T, 1]
      xi = add(spread(xi, tf.sub(1, at)), spread(read(ofRegions, step), at));
    }
    for (const [kind, u] of parts) xi = add(xi, expand(u(context.mean(kind), step)));
    return xi;
  };
}

/**
 * The offset of the normalisation that the features leave, at length sqrt(d): where they lie as far as the weights tell. A
 * random vector leaves half of all tokens without feedback, and where all of them are, without a gradient either.
 * `prepare` puts their mean in its place.
 */
function usualDirection(host: Host, stream: string, from = Infinity): Initializer {
  const norm = host.model.scope.points.norm.filter((n) => n.role === 'ffn.norm' && n.stream === stream && n.block! < from).at(-1);
  return (shape, random) => {
    const beta = norm && primal(norm.pretrained.beta);
    const values = beta && beta.size === shape[0] ? beta.dataSync<'float32'>() : new Float32Array();
    const length = Math.hypot(...values);
    return length > 0 ? values.map((v) => (v * Math.sqrt(values.length)) / length) : normal(1)(shape, random);
  };
}

/** A vector where a mask is one: [1, 1, d], [B, T, 1] -> [B, T, d]. */
const spread = (v: Value, at: tf.Tensor): Value => mask(v, at);
const expand = (x: Value): Value => reshape(x, [x.shape[0]!, 1, x.shape[1]!]);

const answerStream = (host: Host): string | undefined => host.model.scope.points.linear.find((w) => w.role === 'head.down')?.stream;

function requireTokens(host: Host, { task, vectors, crossTop }: Settings): void {
  const refuse = (option: string, why: string): never => {
    throw new OptionsError(`'toast' option '${option}': ${why}`);
  };
  if (crossTop && host.streams.length === 1) refuse('crossTop', `'${host.model.name}' has one stream: the answer's feature and all others are in it. Use task: 'answer'`);
  if (vectors === 'modality' && host.streams.length > 1) refuse('vectors', `'${host.model.name}' has the streams ${host.streams.join(', ')}, each with a vector of its own already: drop it`);
  const wants = task !== 'static' ? 'task' : crossTop ? 'crossTop' : vectors === 'modality' ? 'vectors' : undefined;
  if (wants && !host.model.tokens) refuse(wants, `'${host.model.name}' does not say what its tokens are; give the model a method 'tokens', or drop the option`);
}

