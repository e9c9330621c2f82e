import * as tf from '@tensorflow/tfjs';
import { matMul, mean, primal, readout, reshape, type Hook, type Host, type SitePoint, type Slot, type Step, type Value } from '@espalier/core';
import type { Layout, Use } from './layout.ts';

/** What a step keeps for its readouts. */
export interface Kept {
  readonly signals: ReadonlyMap<Use, Slot<Value>>;
  readonly gates: ReadonlyMap<string, Slot<Value>>; // [B, T, 1] by stream; none where every token is fed back
}

export const ATTENTION = 'attention';
export const FEEDBACK = 'feedback';
export const GATE = 'gate';

/**
 * What feedback did, for people to look at. From `to` on, the attention that the answer's token gives to others, averaged over
 * heads (in a stream without that token, averaged over all of its tokens); for every signal |td| / |u| of each token; and
 * where a stream is steered first, its gate. In the variant without plugins, attention as it was, and no feedback.
 */
export function readoutsOf(host: Host, { to, descents }: Layout, { signals, gates }: Kept): Hook[] {
  const { points } = host.model.scope;
  const attention = points.site
    .filter((s) => (s.role === 'attention.probabilities' || s.role === 'cross.probabilities') && s.block! >= to)
    .map((site) => readout(site, [ATTENTION], (p, step) => attentionOf(host, site, p, step), { stream: attended(host, site) }));
  const fed = descents.flatMap(({ stream, levels }) =>
    levels.flatMap((l) => l.uses).map((use, i) => {
      const gate = i === 0 ? gates.get(stream) : undefined;
      return readout(use.sites[0]!, gate ? [FEEDBACK, GATE] : [FEEDBACK], (x, step) => {
        const strength = strengthOf(x, signals.get(use)!, step);
        return gate ? tf.concat([strength, step.has(gate) ? primal(step.get(gate)) : tf.zerosLike(strength)], -1) : strength;
      });
    }),
  );
  return [...attention, ...fed];
}

/** Whose tokens an attention reads: in cross-attention those of the other stream. */
export function attended({ model }: Pick<Host, 'model'>, site: SitePoint): string | undefined {
  if (site.role !== 'cross.probabilities') return site.stream;
  return model.scope.points.stage.find((s) => s.role === 'block' && s.block === site.block)?.writes.find((s) => s !== site.stream);
}

/** [B, H, Tq, Tk] -> [B, Tk, 1], averaged over heads and over the queries that count. */
function attentionOf({ model }: Host, { stream }: SitePoint, p: Value, step: Step): Value {
  const [batch, , queries, keys] = p.shape as [number, number, number, number];
  const kinds = model.tokens?.(step.inputs)[stream ?? ''];
  const counts = kinds?.answer ?? kinds?.question ?? kinds?.region ?? tf.ones([batch, queries]);
  const weights = tf.reshape(tf.div(counts, tf.maximum(tf.sum(counts, 1, true), 1)), [batch, 1, queries]);
  return reshape(matMul(weights, mean(p, [1])), [batch, keys, 1]);
}

/** |td| / |u| of what a value linear reads, u + td: [B, T, 1]; zero where nothing is fed back. */
function strengthOf(x: Value, slot: Slot<Value>, step: Step): tf.Tensor {
  const sum = primal(x);
  if (!step.has(slot)) return tf.zeros([...sum.shape.slice(0, -1), 1]);
  const td = primal(step.get(slot));
  const own = tf.norm(tf.sub(sum, td), 2, -1, true);
  return tf.div(tf.norm(td, 2, -1, true), tf.maximum(own, 1e-12));
}

