import {
  definePlugin, entriesOf, mapParams, normal, ones, primal, SelectionError, weight, xavier, zeros,
  type Host, type Initializer, type ModelWeight, type ParameterPoint, type Params, type WeightPoint, type WeightRole,
} from '@espalier/core';
import { options, type TuneOptions } from './options.ts';

/** Places of the task's head: only preset 'head' and `at` reach them, and they stay in force in every variant. */
const HEAD: readonly WeightRole[] = ['head.up', 'head.norm', 'head.down'];

/**
 * W' = V, where V is a variable that starts as a copy of the pretrained W: plain tuning of any places, from the head
 * alone to the whole model. BitFit is arXiv 2106.10199. Biases and gains not chosen stay frozen.
 * @throws SelectionError when nothing is selected. @throws OptionsError for options that contradict each other.
 */
export const tune = definePlugin({
  name: 'tune',
  version: '0.1.0',
  hookApi: '1.0',
  options,
  attach(host, given) {
    const parts = given.preset === 'bitfit' ? ['bias', 'beta'] : given.parts;
    const hooks = chosenBy(host, given).flatMap((at) => {
      const anew = given.answers !== undefined && at.role === 'head.down' ? given.answers : undefined;
      const own = new Map<string, ParameterPoint>();
      for (const [part, x] of entriesOf(at.pretrained)) {
        if (parts && !parts.some((p) => p === part)) continue;
        const shape = anew === undefined ? x.shape : [...x.shape.slice(0, -1), anew];
        own.set(part, host.variable(`${at.path}.${part}`, shape, given.reinit || anew !== undefined ? fresh(at, part) : () => primal(x).dataSync<'float32'>().slice()));
      }
      if (!own.size) return [];
      return weight(
        // Of all kinds of places alike: the arrays chosen are replaced, the others stay as they are.
        at as WeightPoint<Params>,
        (p, step) => mapParams(p, (x, part) => (own.has(part) ? step.read(own.get(part)!) : x)),
        { mode: 'replace', always: HEAD.includes(at.role) },
      );
    });
    if (!hooks.length) throw new SelectionError(`'tune' selects places, but none of them has a ${parts?.join(' or a ')}. Change parts, or what at selects.`);
    return hooks;
  },
});

/** The places that the options choose, each once, in the model's order. */
function chosenBy(host: Host, { preset, at, last }: TuneOptions): ModelWeight[] {
  const body = () => host.weights().filter((w) => !HEAD.includes(w.role));
  switch (preset) {
    case 'head':
      return host.weights({ role: HEAD });
    case 'norms':
      return host.norms().filter((w) => !HEAD.includes(w.role));
    case 'embeddings':
      return host.embeddings();
    case 'last':
      return lastBlocks(body(), last ?? 1);
    case 'all':
    case 'bitfit':
      return body();
    case undefined: {
      const selects = at === undefined || !isList(at) ? [at] : at;
      const ids = new Set(selects.flatMap((one) => host.weights(one).map((w) => w.id)));
      return host.weights().filter((w) => ids.has(w.id));
    }
  }
}

const isList = <T>(x: T | readonly T[]): x is readonly T[] => Array.isArray(x);

/** Places in the last k blocks of the encoder, whichever streams they belong to. */
function lastBlocks(places: readonly ModelWeight[], k: number): ModelWeight[] {
  const blocks = 1 + Math.max(-1, ...places.map((w) => w.block ?? -1));
  if (k > blocks) throw new SelectionError(`'tune' option 'last' is ${k}, this model has ${blocks} blocks. Use at most ${blocks}, or preset 'all' for everything.`);
  return places.filter((w) => w.block !== undefined && w.block >= blocks - k);
}

/** Kernels xavier, gains one, offsets zero, tables N(0, 0.02^2) with a zero padding row. */
function fresh(at: ModelWeight, part: string): Initializer {
  if (part === 'kernel') return xavier;
  if (part === 'gamma') return ones;
  if (part !== 'table') return zeros;
  return (shape, random) => {
    const values = normal(0.02)(shape, random);
    if ('padding' in at && at.padding !== undefined) values.fill(0, at.padding * at.dim, (at.padding + 1) * at.dim);
    return values;
  };
}
