import * as tf from '@tensorflow/tfjs';
import { evaluate, finish, matches, tidy, type Adapted, type LinearPoint, type LinearRole, type LinearSite, type Select, type SitePoint, type Value, type Variant } from '@espalier/core';
import { attachedTo } from './attached.ts';

/** Scores of tokens, by sample and cluster: scores[sample][cluster] holds one number per token. */
export type Scores = readonly (readonly Float32Array[])[];

/** How the clusters of one adapted linear score the tokens that pass it. */
export interface ClusterMap {
  readonly site: string; // path of the use: a cross-attention's linear has two, one per stream
  readonly role: LinearRole;
  readonly stream: string | undefined;
  readonly block: number | undefined;
  readonly clusters: number; // M; the rank where the generator has no clusters of its own
  readonly tokens: number;
  /** Of the frozen linear's output, on what it reads in the adapted model. */
  readonly before: Scores;
  /** Of the adapted linear's output. What differs from `before` is what adaptation did here. */
  readonly after: Scores;
  /** The control: of the linear's output in the pretrained model. */
  readonly pretrained: Scores;
}

export interface ClusterMapOptions {
  readonly instance?: string; // default 'gift'
  readonly at?: Select<LinearRole>; // only these of the adapted linears; `stream` is that of the linear
}

/**
 * S = y C: each cluster is a read-out over the output channels of a linear, y [B, T, out] with its bias and before the
 * residual, C [out, M]. C is sigmoid(x W_c + b_c) of the last block of 'paca' and 'paca-attention', W phi otherwise. In the
 * order of the forward pass; a linear that several passes run is scored in the last. Arxiv 2312.00700.
 * @throws EspalierError when there is no such instance.
 */
export async function clusterMaps<I>(adapted: Adapted<I>, inputs: I, { instance = 'gift', at = {} }: ClusterMapOptions = {}): Promise<readonly ClusterMap[]> {
  const { at: residuals } = attachedTo(adapted, instance);
  const uses = new Map<number, LinearSite>(); // by the id of either site of a use
  for (const site of adapted.model.scope.points.site) {
    if (!isUse(site) || !residuals.has(site.of.id) || !matches(site.of, at)) continue;
    for (const { id } of [site, site.input]) uses.set(id, site);
  }
  const readOuts = new Map<number, tf.Tensor>(); // by the linear's id: [out, M]
  const found = { before: new Map<LinearSite, tf.Tensor>(), after: new Map<LinearSite, tf.Tensor>(), pretrained: new Map<LinearSite, tf.Tensor>() };
  const put = (into: Map<LinearSite, tf.Tensor>, use: LinearSite, f: (c: tf.Tensor) => tf.Tensor) => {
    into.get(use)?.dispose();
    into.set(use, tf.keep(tf.tidy(() => f(readOuts.get(use.of.id)!))));
  };

  const run = async (variant: Variant, observe: (site: SitePoint, use: LinearSite, x: Value) => void) => {
    const step = await adapted.start(inputs, {
      variant,
      observe: (site, x) => {
        const use = uses.get(site.id);
        if (use) observe(site, use, x);
      },
    });
    try {
      for (const use of uses.values()) {
        const { linear, residual } = residuals.get(use.of.id)!;
        if (!readOuts.has(linear.id)) readOuts.set(linear.id, tf.keep(tf.tidy(() => evaluate(residual.clusters(linear, (p) => step.read(p))))));
      }
      tidy(() => void adapted.model.forward(inputs, step));
    } finally {
      finish(step);
    }
  };
  try {
    await run('adapted', (site, use, x) => (site === use.input ? put(found.before, use, frozenScores(x, use.of)) : put(found.after, use, scores(x))));
    await run('pretrained', (site, use, x) => site !== use.input && put(found.pretrained, use, scores(x)));
    const maps: ClusterMap[] = [];
    for (const [use, after] of found.after) {
      const [before, pretrained] = [found.before.get(use), found.pretrained.get(use)];
      if (!before || !pretrained) continue; // a stage that another plugin runs in one of the variants only
      const [, clusters, tokens] = after.shape as [number, number, number];
      const { path: site, stream, of } = use;
      maps.push({ site, role: of.role, stream, block: of.block, clusters, tokens, before: await read(before), after: await read(after), pretrained: await read(pretrained) });
    }
    return maps;
  } finally {
    tf.dispose([...Object.values(found).flatMap((m) => [...m.values()]), ...readOuts.values()]);
  }
}

const isUse = (site: SitePoint): site is LinearSite => 'input' in site;

/** y C, clusters before tokens: [B, T, out] or [B, out], [out, M] -> [B, M, T]. */
const scores = (x: Value) => (c: tf.Tensor): tf.Tensor => {
  const y = evaluate(x);
  const [batch, tokens] = [y.shape[0]!, y.shape.length === 2 ? 1 : y.shape[1]!];
  const flat: tf.Tensor = tf.matMul(tf.reshape(y, [-1, y.shape.at(-1)!]), c);
  return tf.transpose(tf.reshape(flat, [batch, tokens, -1]), [0, 2, 1]);
};

/** (x K + b) C of the frozen linear, as x (K C) + b C: [B, T, in] -> [B, M, T]. */
const frozenScores = (x: Value, { pretrained }: LinearPoint) => (c: tf.Tensor): tf.Tensor => {
  const [kernel, bias] = [evaluate(pretrained.kernel), pretrained.bias && evaluate(pretrained.bias)];
  const s = scores(x)(tf.matMul(kernel, c));
  return bias ? tf.add(s, tf.matMul(c, tf.reshape(bias, [-1, 1]), true)) : s; // [M, 1], to every token
};

/** [B, M, T] on the host. */
async function read(x: tf.Tensor): Promise<Scores> {
  const [batch, clusters, tokens] = x.shape as [number, number, number];
  const values = await x.data<'float32'>();
  const rowOf = (i: number) => values.slice(i * tokens, (i + 1) * tokens);
  return Array.from({ length: batch }, (_, b) => Array.from({ length: clusters }, (_, m) => rowOf(b * clusters + m)));
}
