import {
  add, gelu, matMul, reshape, scale, sequence, softmax, streamOf, transpose, update,
  type LinearPoint, type LinearSite, type NormPoint, type Scope, type SitePoint, type Stage, type Step, type Stream, type Value,
} from '@espalier/core';

/** Sizes of a tiny transformer. */
export interface BlockSizes {
  readonly width: number;
  readonly heads: number;
  readonly inner: number; // width of the feed-forward's hidden layer
  readonly dropout: number;
}

type Kind = 'attention' | 'cross';
type Half = (x: Stream, step: Step) => Stream;

/** One attention's parameters; a cross-attention uses a single set in both directions. */
interface AttentionWeights {
  readonly query: LinearPoint;
  readonly key: LinearPoint;
  readonly value: LinearPoint;
  readonly output: LinearPoint;
  readonly norm: NormPoint;
}

const attentionWeights = (scope: Scope, kind: Kind, { width }: BlockSizes): AttentionWeights => ({
  query: scope.linear(`${kind}.query`, width, width),
  key: scope.linear(`${kind}.key`, width, width),
  value: scope.linear(`${kind}.value`, width, width),
  output: scope.linear(`${kind}.output`, width, width),
  norm: scope.norm(`${kind}.norm`, width),
});

/** softmax(q k' / sqrt(d) + mask) v, heads joined: `from` attends over `to`; [B, Tq, D]. */
function attend(scope: Scope, kind: Kind, w: AttentionWeights, from: string, to: string, { heads, dropout }: BlockSizes) {
  const query = scope.use(w.query, { stream: from });
  const key = scope.use(w.key, { stream: to });
  const values = scope.use(w.value, { stream: to });
  const scores = scope.site(`${kind}.scores`, { stream: from });
  const probabilities = scope.site(`${kind}.probabilities`, { stream: from });
  const context = scope.site(`${kind}.context`, { stream: from });
  return (x: Stream, y: Stream, step: Step): Value => {
    const q = split(step.linear(query, x.hidden), heads); // [B, H, Tq, D / H]
    const k = split(step.linear(key, y.hidden), heads); // [B, H, Tk, D / H]
    const v = split(step.linear(values, y.hidden), heads); // [B, H, Tk, D / H]
    const s = step.at(scores, add(scale(matMul(q, k, false, true), 1 / Math.sqrt(q.shape.at(-1)!)), y.mask));
    const p = step.dropout(probabilities, step.at(probabilities, softmax(s)), dropout);
    return step.at(context, merge(matMul(p, v)));
  };
}

/** The second half of a residual sublayer: project, drop, add the residual, normalise. */
function project(use: LinearSite, norm: NormPoint, dropout: number, output?: SitePoint): Half {
  return (x, step) => {
    if (!x.residual) throw new Error(`'${use.path}' runs without the first half of its sublayer`);
    const y = step.dropout(use, step.linear(use, x.hidden), dropout);
    const hidden = step.norm(norm, add(y, x.residual));
    return { hidden: output ? step.at(output, hidden) : hidden, mask: x.mask };
  };
}

function selfAttention(scope: Scope, stream: string, sizes: BlockSizes): Stage {
  const w = attentionWeights(scope, 'attention', sizes);
  const heads = attend(scope, 'attention', w, stream, stream, sizes);
  const output = project(scope.use(w.output), w.norm, sizes.dropout);
  const first = scope.stage('attention.heads', (s, step) => update(s, stream, (x) => ({ ...x, residual: x.hidden, hidden: heads(x, x, step) })), {
    width: sizes.heads,
  });
  const second = scope.stage('attention.project', (s, step) => update(s, stream, (x) => output(x, step)));
  return scope.stage('attention', sequence(first, second));
}

/** Each stream attends over the other as it was, with the same parameters. */
function crossAttention(scope: Scope, [a, b]: readonly [string, string], sizes: BlockSizes): Stage {
  const w = attentionWeights(scope, 'cross', sizes);
  const streams = [a, b];
  const [inA, inB] = [scope.child(a, { stream: a }), scope.child(b, { stream: b })];
  const [overB, overA] = [attend(inA, 'cross', w, a, b, sizes), attend(inB, 'cross', w, b, a, sizes)];
  const [outA, outB] = [project(inA.use(w.output), w.norm, sizes.dropout), project(inB.use(w.output), w.norm, sizes.dropout)];
  const first = scope.stage(
    'cross.heads',
    (s, step) => {
      const [x, y] = [streamOf(s, a), streamOf(s, b)];
      return { ...s, [a]: { ...x, residual: x.hidden, hidden: overB(x, y, step) }, [b]: { ...y, residual: y.hidden, hidden: overA(y, x, step) } };
    },
    { width: sizes.heads, streams },
  );
  const second = scope.stage('cross.project', (s, step) => ({ ...s, [a]: outA(streamOf(s, a), step), [b]: outB(streamOf(s, b), step) }), { streams });
  return scope.stage('cross', sequence(first, second), { streams });
}

function feedForward(scope: Scope, stream: string, { width, inner, dropout }: BlockSizes, output: SitePoint): Stage {
  const up = scope.use(scope.linear('ffn.up', width, inner));
  const hidden = scope.site('ffn.hidden');
  const down = project(scope.use(scope.linear('ffn.down', inner, width)), scope.norm('ffn.norm', width), dropout, output);
  const first = scope.stage('ffn.expand', (s, step) =>
    update(s, stream, (x) => ({ ...x, residual: x.hidden, hidden: step.at(hidden, gelu(step.linear(up, x.hidden))) })),
  );
  const second = scope.stage('ffn.contract', (s, step) => update(s, stream, (x) => down(x, step)));
  return scope.stage('ffn', sequence(first, second));
}

/** Self-attention and feed-forward over one stream. */
export const transformerBlock = (scope: Scope, stream: string, sizes: BlockSizes): Stage =>
  scope.stage(
    'block',
    sequence(
      selfAttention(scope.child('attention'), stream, sizes),
      feedForward(scope.child('ffn'), stream, sizes, scope.site('block.output')),
    ),
  );

/** Cross-attention in both directions, then self-attention and feed-forward in each stream. */
export function crossBlock(scope: Scope, streams: readonly [string, string], sizes: BlockSizes): Stage {
  const inside = streams.map((stream) => ({ stream, scope: scope.child(stream, { stream }) }));
  return scope.stage(
    'block',
    sequence(
      crossAttention(scope.child('cross'), streams, sizes),
      ...inside.map(({ stream, scope: own }) => selfAttention(own.child('attention'), stream, sizes)),
      ...inside.map(({ stream, scope: own }) => feedForward(own.child('ffn'), stream, sizes, own.site('block.output'))),
    ),
    { streams },
  );
}

/** [B, T, D] -> [B, H, T, D / H]. */
const split = (x: Value, heads: number): Value => {
  const [batch, tokens, width] = x.shape as [number, number, number];
  return transpose(reshape(x, [batch, tokens, heads, width / heads]), [0, 2, 1, 3]);
};
/** [B, H, T, d] -> [B, T, H d]. */
const merge = (x: Value): Value => {
  const [batch, heads, tokens, width] = x.shape as [number, number, number, number];
  return reshape(transpose(x, [0, 2, 1, 3]), [batch, tokens, heads * width]);
};
