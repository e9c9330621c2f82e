import * as tf from '@tensorflow/tfjs';
import {
  around, concat, dual, mapParams, normal, ones, scale, slice, streamOf, update, weight, xavier, zeros,
  type Hook, type Host, type Initializer, type ParameterPoint, type Params, type WeightPoint,
} from '@espalier/core';
import { blocksOf, firstBlock, type Linearised } from './places.ts';

/** Arrays drawn anew in place of the pretrained ones: kernels xavier, gains one, offsets zero, tables N(0, 0.02^2). They belong to the base. */
export function drawnAnew(host: Host, places: readonly Linearised[]): Hook[] {
  return places.map(({ at, arrays }) => {
    // The whole place: a dead bias of a key is drawn like any other, so that the base follows from the seed alone.
    const own = new Map([...host.shapes(at)].map(([part, shape]) => [part, host.constant(`base/${at.path}.${part}`, shape, fresh(part))]));
    if (!arrays.size) throw new Error(`'${at.path}' is linearised in no array`);
    return weight(at as WeightPoint<Params>, (p) => mapParams(p, (x, part) => own.get(part) ?? x), { mode: 'replace' });
  });
}

function fresh(part: string): Initializer {
  if (part === 'kernel') return xavier;
  if (part === 'gamma') return ones;
  return part === 'table' ? normal(0.02) : zeros;
}

/**
 * A token of its own before the first linearised block, in the first place of the stream that the answer is read from:
 * c + eps dc, c drawn with deviation 1e-6 (the base's), dc trained.
 */
export function replacedToken(host: Host, lastK: number | undefined, variable: (path: string, shape: readonly number[]) => ParameterPoint): Hook {
  const { points } = host.model.scope;
  const answer = points.site.find((s) => s.role === 'logits')?.stream;
  const from = firstBlock(host, lastK);
  const blocks = blocksOf(host).filter((b) => b.block! >= from);
  const first = blocks.find((b) => answer !== undefined && b.reads.includes(answer)) ?? blocks[0]!;
  const stream = answer !== undefined && first.reads.includes(answer) ? answer : first.reads[0]!;
  const width = host.norms({ block: [first.block!, first.block! + 1] })[0]!.dim;
  const token = host.constant('base/cls', [width], normal(1e-6));
  const tangent = variable('cls', [width]);
  return around(first, 'edit', (run, streams, step) => {
    const { hidden } = streamOf(streams, stream);
    const [batch, tokens] = hidden.shape as [number, number];
    const row = tf.ones([batch, 1, 1]);
    const own = dual(tf.mul(row, token), tf.mul(row, primalOf(step.read(tangent))));
    const rest = tokens > 1 ? [slice(hidden, [0, 1, 0], [-1, -1, -1])] : [];
    return run(update(streams, stream, (x) => ({ ...x, hidden: concat([scale(own, 1), ...rest], 1) })));
  });
}

const primalOf = (x: ReturnType<typeof dual>): tf.Tensor => ('primal' in x ? x.primal : x);
