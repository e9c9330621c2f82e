import { matches, readings, type Adapted, type LinearRole, type Reading, type Select } from '@espalier/core';
import { attachedTo } from './attached.ts';
import { isUse } from './readouts.ts';

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
 * order of the model; a linear that several passes run is scored in the last. Arxiv 2312.00700.
 * @throws EspalierError when there is no such instance.
 */
export async function clusterMaps<I>(adapted: Adapted<I>, inputs: I, { instance = 'gift', at = {} }: ClusterMapOptions = {}): Promise<readonly ClusterMap[]> {
  const { at: residuals } = attachedTo(adapted, instance);
  const found = new Map<string, Reading>(); // the last of each
  for (const reading of await readings(adapted, inputs)) if (reading.instance === instance) found.set(`${reading.variant} ${reading.path}`, reading);
  return adapted.model.scope.points.site.flatMap((site): ClusterMap[] => {
    if (!isUse(site) || !residuals.has(site.of.id) || !matches(site.of, at)) return [];
    const [before, after, pretrained] = [`adapted ${site.input.path}`, `adapted ${site.path}`, `pretrained ${site.path}`].map((key) => found.get(key));
    if (!before || !after || !pretrained) return []; // what nothing reads does not run, and what is routed around does not always
    const [, tokens, clusters] = after.shape as [number, number, number];
    return [{ site: site.path, role: site.of.role, stream: site.stream, block: site.of.block, clusters, tokens, before: scoresOf(before), after: scoresOf(after), pretrained: scoresOf(pretrained) }];
  });
}

/** [B, T, M] by sample and cluster. */
function scoresOf({ shape, values }: Reading): Scores {
  const [batch, tokens, clusters] = shape as [number, number, number];
  return Array.from({ length: batch }, (_, b) =>
    Array.from({ length: clusters }, (_, m) => Float32Array.from({ length: tokens }, (_, t) => values[(b * tokens + t) * clusters + m]!)),
  );
}
