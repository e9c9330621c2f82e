import type * as tf from '@tensorflow/tfjs';
import {
  add, gelu, mask, matMul, reshape, scale, sequence, softmax, streamOf, sum, transpose, update,
  type LinearPoint, type NormPoint, type Scope, type Stage, type Step, type Stream, type Value,
} from '@espalier/core';

/** Sizes of a post-LN BERT block, under the names of the released configuration files. */
export interface BlockConfig {
  readonly hidden_size: number; // D
  readonly num_attention_heads: number; // H
  readonly intermediate_size: number; // 4D in the released models
  readonly hidden_dropout_prob: number;
  readonly attention_probs_dropout_prob: number;
}

type Kind = 'attention' | 'cross';

/** One attention's parameters. LXMERT's cross-attention uses a single set in both directions. */
interface AttentionWeights {
  readonly query: LinearPoint;
  readonly key: LinearPoint;
  readonly value: LinearPoint;
  readonly output: LinearPoint;
  readonly norm: NormPoint;
}

const attentionWeights = (scope: Scope, kind: Kind, { hidden_size: d }: BlockConfig): AttentionWeights => ({
  query: scope.linear(`${kind}.query`, d, d),
  key: scope.linear(`${kind}.key`, d, d),
  value: scope.linear(`${kind}.value`, d, d),
  output: scope.linear(`${kind}.output`, d, d),
  norm: scope.norm(`${kind}.norm`, d),
});

/** Attention of `from` over `to`: softmax(q k' / sqrt(d) + mask) v, heads joined; [B, Tq, D]. */
function attend(scope: Scope, kind: Kind, w: AttentionWeights, from: string, to: string, c: BlockConfig) {
  const heads = c.num_attention_heads;
  const query = scope.use(w.query, { stream: from });
  const key = scope.use(w.key, { stream: to });
  const value = scope.use(w.value, { stream: to });
  const scores = scope.site(`${kind}.scores`, { stream: from });
  const probabilities = scope.site(`${kind}.probabilities`, { stream: from });
  const context = scope.site(`${kind}.context`, { stream: from });
  const shrink = 1 / Math.sqrt(c.hidden_size / heads);

  return (x: Stream, y: Stream, step: Step): Value => {
    const q = splitHeads(scale(step.linear(query, x.hidden), shrink), heads); // [B, H, Tq, D/H]
    const k = splitHeads(step.linear(key, y.hidden), heads); // [B, H, Tk, D/H]
    const v = splitHeads(step.linear(value, y.hidden), heads);
    const s = step.at(scores, add(matMul(q, k, false, true), y.mask)); // [B, H, Tq, Tk]
    const p = step.dropout(probabilities, step.at(probabilities, softmax(s)), c.attention_probs_dropout_prob);
    return step.at(context, joinHeads(matMul(p, v)));
  };
}

/** The second half of a residual sublayer: LN(dropout(x W + b) + residual). */
function project(scope: Scope, w: LinearPoint, norm: NormPoint, stream: string, c: BlockConfig) {
  const output = scope.use(w, { stream });
  return (x: Stream, step: Step): Stream => {
    if (!x.residual) throw new Error(`'${output.path}' runs after the first half of its sublayer, which leaves the residual`);
    const y = step.dropout(output, step.linear(output, x.hidden), c.hidden_dropout_prob);
    return { hidden: step.norm(norm, add(y, x.residual)), mask: x.mask };
  };
}

/** The one token of each sample that is read: [B, T, D] -> [B, 1, D]. */
const take = (x: Value, read: tf.Tensor): Value => sum(mask(x, read), [1], true);
/** Back in its place among zeros that nobody reads: [B, 1, D] -> [B, T, D]. */
const put = (x: Stream, read: tf.Tensor | undefined): Stream => (read ? { ...x, hidden: mask(x.hidden, read) } : x);

/** Self-attention, its residual and normalisation. In the last block queries are those tokens alone that are read. */
export function selfAttention(scope: Scope, stream: string, c: BlockConfig, last = false): Stage {
  const w = attentionWeights(scope, 'attention', c);
  const heads = attend(scope, 'attention', w, stream, stream, c);
  const output = project(scope, w.output, w.norm, stream, c);
  const readIn = (step: Step) => (last ? step.wanted : undefined);
  const first: Stage = (s, step) =>
    update(s, stream, (x) => {
      const read = readIn(step);
      const from = read ? { ...x, hidden: take(x.hidden, read) } : x;
      return { ...x, residual: from.hidden, hidden: heads(from, x, step) };
    });
  const second: Stage = (s, step) => update(s, stream, (x) => put(output(x, step), readIn(step)));
  return scope.stage(
    'attention',
    sequence(scope.stage('attention.heads', first, { width: c.num_attention_heads }), scope.stage('attention.project', second)),
  );
}

/** Each stream attends over the other as it was, with the same parameters. `dead` is a stream whose own direction nobody reads. */
function crossAttention(scope: Scope, a: string, b: string, c: BlockConfig, dead: string | undefined): Stage {
  const w = attentionWeights(scope, 'cross', c);
  const ways = [
    { stream: a, other: b },
    { stream: b, other: a },
  ].map(({ stream, other }) => ({
    stream,
    other,
    heads: attend(scope.child(stream), 'cross', w, stream, other, c),
    output: project(scope.child(stream), w.output, w.norm, stream, c),
  }));
  const live = ways.filter((way) => way.stream !== dead);
  const first: Stage = (s, step) => ({
    ...s,
    ...Object.fromEntries(
      live.map(({ stream, other, heads }) => {
        const x = streamOf(s, stream);
        return [stream, { ...x, residual: x.hidden, hidden: heads(x, streamOf(s, other), step) }];
      }),
    ),
  });
  const second: Stage = (s, step) => live.reduce((t, { stream, output }) => update(t, stream, (x) => output(x, step)), s);
  const streams = [a, b];
  return scope.stage(
    'cross',
    sequence(scope.stage('cross.heads', first, { width: c.num_attention_heads, streams }), scope.stage('cross.project', second, { streams })),
    { streams },
  );
}

/** The two halves of a feed-forward sublayer, and the whole; apart, so that a block of two streams can declare its gates in order. */
function feedForward(scope: Scope, stream: string, c: BlockConfig, last: boolean) {
  const up = scope.linear('ffn.up', c.hidden_size, c.intermediate_size);
  const down = scope.linear('ffn.down', c.intermediate_size, c.hidden_size);
  const norm = scope.norm('ffn.norm', c.hidden_size);
  const use = scope.use(up, { stream });
  const hidden = scope.site('ffn.hidden', { stream });
  const output = project(scope, down, norm, stream, c);
  const readIn = (step: Step) => (last ? step.wanted : undefined);
  const first: Stage = (s, step) =>
    update(s, stream, (x) => {
      const read = readIn(step);
      const from = read ? take(x.hidden, read) : x.hidden;
      return { ...x, residual: from, hidden: step.at(hidden, gelu(step.linear(use, from))) };
    });
  const second: Stage = (s, step) => update(s, stream, (x) => put(output(x, step), readIn(step)));
  return {
    expand: () => scope.stage('ffn.expand', first),
    contract: () => scope.stage('ffn.contract', second),
    whole: (expand: Stage, contract: Stage) => scope.stage('ffn', sequence(expand, contract)),
  };
}

/** What leaves a block, as a site of each stream. */
function outputs(scope: Scope, streams: readonly { name: string; scope: Scope }[]): Stage {
  const sites = streams.map((s) => ({ name: s.name, site: s.scope.site('block.output', { stream: s.name }) }));
  return (s, step) => sites.reduce((t, { name, site }) => update(t, name, (x) => ({ ...x, hidden: step.at(site, x.hidden) })), s);
}

/** Self-attention, then feed-forward: a BERT layer. The `last` one computes what is read. */
export function transformerBlock(scope: Scope, stream: string, c: BlockConfig, last = false): Stage {
  const attention = selfAttention(scope.child('attention'), stream, c, last);
  const ffn = feedForward(scope.child('ffn'), stream, c, last);
  return scope.stage('block', sequence(attention, ffn.whole(ffn.expand(), ffn.contract()), outputs(scope, [{ name: stream, scope }])));
}

/**
 * LXMERT's cross block: the streams attend over each other as they were, then each over itself, then feed forward.
 * Gates are declared language-in, vision-in, language-out, vision-out for the feed-forward halves. Of a `dead` stream,
 * whose output nobody reads, the points are declared and nothing runs. In the block that is the last for stream `last`, what
 * follows the cross-attention computes what is read of it.
 */
export function crossBlock(scope: Scope, a: string, b: string, c: BlockConfig, { dead, last }: { readonly dead?: string | undefined; readonly last?: string | undefined } = {}): Stage {
  const cross = crossAttention(scope.child('cross'), a, b, c, dead);
  const sides = [a, b].map((name) => {
    const own = scope.child(name, { stream: name });
    return { name, scope: own, attention: selfAttention(own.child('attention'), name, c, name === last), ffn: feedForward(own.child('ffn'), name, c, name === last) };
  });
  const expand = sides.map((s) => s.ffn.expand());
  const contract = sides.map((s) => s.ffn.contract());
  const whole = sides.map((s, i) => s.ffn.whole(expand[i]!, contract[i]!));
  const live = sides.map((s, i) => ({ ...s, whole: whole[i]! })).filter((s) => s.name !== dead);
  return scope.stage(
    'block',
    sequence(cross, ...live.map((s) => s.attention), ...live.map((s) => s.whole), outputs(scope, live)),
    { streams: [a, b] },
  );
}

/** [B, T, D] -> [B, H, T, D/H]. */
function splitHeads(x: Value, heads: number): Value {
  const [b, t, d] = x.shape as [number, number, number];
  return transpose(reshape(x, [b, t, heads, d / heads]), [0, 2, 1, 3]);
}

/** [B, H, T, D/H] -> [B, T, D]. */
function joinHeads(x: Value): Value {
  const [b, h, t, d] = x.shape as [number, number, number, number];
  return reshape(transpose(x, [0, 2, 1, 3]), [b, t, h * d]);
}
