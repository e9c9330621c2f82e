import { add, matMul, readout, reshape, type Hook, type Host, type LinearPoint, type LinearSite, type SitePoint, type Value } from '@espalier/core';
import type { Read } from './dense.ts';

/** Read-outs over the output channels of a linear: C [out, M]. */
export type Clusters = (at: LinearPoint, read: Read) => Value;

/**
 * For every use of a linear, S = y C of its output y [B, T, out] with the bias and before the residual, and at its input
 * x (K C) + b C: the same of the frozen linear, which is what its output would be without the update.
 */
export function readoutsOf(host: Host, linear: LinearPoint, count: number, clusters: Clusters): Hook[] {
  const labels = Array.from({ length: count }, (_, m) => `cluster ${m}`);
  return host.sites({ role: linear.role }).flatMap((site) => {
    if (!isUse(site) || site.of !== linear) return [];
    return [
      readout(site, labels, (y, step) => scores(y, clusters(linear, (v) => step.read(v)))),
      readout(site.input, labels.map((label) => `${label} before`), (x, step) => frozenScores(x, linear, clusters(linear, (v) => step.read(v)))),
    ];
  });
}

/** Whether a site is the output of a use of a linear. */
export const isUse = (site: SitePoint): site is LinearSite => 'input' in site;

/** y C: [B, T, out] or [B, out], [out, M] -> [B, T, M]. */
function scores(y: Value, c: Value): Value {
  const [batch, tokens] = [y.shape[0]!, y.shape.length === 2 ? 1 : y.shape[1]!];
  return reshape(matMul(reshape(y, [-1, y.shape.at(-1)!]), c), [batch, tokens, c.shape[1]!]);
}

function frozenScores(x: Value, { pretrained: { kernel, bias }, out }: LinearPoint, c: Value): Value {
  const s = scores(x, matMul(kernel, c));
  return bias ? add(s, matMul(reshape(bias, [1, out]), c)) : s;
}
