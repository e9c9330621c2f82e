import { CheckpointError, didYouMean, EspalierError } from '@espalier/core';
import type { Component, HostArray } from './component.ts';
import { differences, type Identity } from './identity.ts';

/** Components and their weights, and the weighted sum of their tangents: one model that costs as much as one component. */
export interface Composition {
  readonly parts: readonly { readonly component: Component; readonly weight: number }[]; // in the order of their ids
  readonly tensors: ReadonlyMap<string, HostArray>;
  readonly identity: Identity;
  /** Weights sum to one: the output is the weighted mean of the components' outputs. */
  readonly affine: boolean;
}

/** How components are weighed: all alike, by the samples they have seen, or by given numbers in their order. */
export type Weights = 'uniform' | 'samples' | readonly number[];

export interface ComposeOptions {
  readonly weights?: Weights; // default 'uniform'
  readonly sum?: boolean; // default false: weights that do not sum to one are refused
}

/**
 * D = sum of a_i D_i, so that f(x; w) + J D is the weighted mean of the components' outputs. Summed in double precision in the
 * order of the ids, hence the same bits whatever order they are given in. arXiv 2307.08122.
 * @throws CheckpointError for components of another base, head or selection, naming both hashes and what differs.
 * @throws EspalierError for no component, one that is there twice, a shard that is, and wrong weights.
 */
export function compose(components: readonly Component[], { weights = 'uniform', sum = false }: ComposeOptions = {}): Composition {
  const [first] = components;
  if (!first) throw new EspalierError('compose: no component given');
  for (const c of components) requireSame(first, c);
  refuseTwice(components);
  const numbers = weightsOf(components, weights);
  const total = numbers.reduce((a, b) => a + b, 0);
  const affine = Math.abs(total - 1) < 1e-6;
  if (!affine && !sum) throw new EspalierError(`compose: the weights ${numbers.join(', ')} sum to ${total}, expected 1, for a mean of the components' outputs. Scale them, or give sum: true for a sum that is none.`);
  const parts = components.map((component, i) => ({ component, weight: numbers[i]! })).sort((a, b) => (a.component.id < b.component.id ? -1 : 1));
  return { parts, identity: first.identity, affine, tensors: summed(parts) };
}

/** Adds a component: with uniform weights D + (D_new - D) / (K + 1). Everything is summed anew, in the order of the ids. @throws as `compose`. */
export function add(composition: Composition, component: Component): Composition {
  requireUniform(composition, 'add');
  return compose([...composition.parts.map((p) => p.component), component]);
}

export interface RemoveOptions {
  /**
   * true: the sum of the others anew, bit for bit what composing them gives; the default. false: (D - a_i D_i) / (1 - a_i),
   * which reads no other component and is off by some roundings.
   */
  readonly exact?: boolean;
}

/**
 * The composition without a component, the others' weights scaled to sum to one where they did before. The others never saw
 * its shard, so nothing of it is left. @throws EspalierError when it is absent, or the last one.
 */
export function remove(composition: Composition, id: string, { exact = true }: RemoveOptions = {}): Composition {
  const { parts, affine, identity } = composition;
  const gone = partOf(composition, id);
  if (parts.length === 1) throw new EspalierError(`'${id}' is the only component: without it nothing is left but the base`);
  const left = affine ? 1 - gone.weight : 1;
  if (Math.abs(left) < 1e-9) throw new EspalierError(`'${id}' has all of the weight: what is left cannot be scaled to sum to one`);
  const uniform = isUniform(parts);
  const others = parts.filter((p) => p !== gone).map((p) => ({ ...p, weight: uniform ? 1 / (parts.length - 1) : p.weight / left }));
  if (exact) return { parts: others, identity, affine, tensors: summed(others) };
  const tensors = new Map<string, HostArray>();
  for (const [name, { shape, data }] of composition.tensors) {
    const own = gone.component.tensors.get(name)!.data;
    const out = new Float32Array(data.length);
    const [keep, take] = [1 / left, gone.weight / left];
    for (let i = 0; i < out.length; i++) out[i] = keep * data[i]! - take * own[i]!;
    tensors.set(name, { shape, data: out });
  }
  return { parts: others, identity, affine, tensors };
}

/** How far a component is from the others: |D_i - mean of the others|, the mean weighed as they are. @throws EspalierError when it is absent or alone. */
export function influence(composition: Composition, id: string): number {
  const { parts } = composition;
  const own = partOf(composition, id);
  const others = parts.filter((p) => p !== own);
  if (!others.length) throw new EspalierError(`'${id}' is the only component: there are no others to compare it with`);
  const total = others.reduce((sum, p) => sum + p.weight, 0);
  if (Math.abs(total) < 1e-9) throw new EspalierError(`the weights of the others of '${id}' sum to zero: they have no mean`);
  let squares = 0;
  for (const [name, { data }] of own.component.tensors) {
    const rest = others.map((p) => ({ by: p.weight / total, data: p.component.tensors.get(name)!.data }));
    for (let i = 0; i < data.length; i++) {
      let d = data[i]!;
      for (const r of rest) d -= r.by * r.data[i]!;
      squares += d * d;
    }
  }
  return Math.sqrt(squares);
}

/** The part of a component. @throws EspalierError when it is absent, with the nearest ids. */
export function partOf({ parts }: Composition, id: string): Composition['parts'][number] {
  const found = parts.find((p) => p.component.id === id);
  const ids = parts.map((p) => p.component.id);
  if (!found) throw new EspalierError(`no component '${id}' in this composition.${didYouMean(id, ids)} There are ${ids.join(', ')}.`);
  return found;
}

/** @throws CheckpointError with what differs. */
export function requireSame(a: Component, b: Component): void {
  const found = differences(a.identity, b.identity);
  if (found.length) throw new CheckpointError(`components '${a.id}' and '${b.id}' do not compose: they have ${found.join('; and ')}. Train them on the same base, with the same options of tangent, head and seed.`);
}

function refuseTwice(components: readonly Component[]): void {
  const ids = new Set<string>();
  const shards = new Map<string, string>();
  for (const { id, shard } of components) {
    if (ids.has(id)) throw new EspalierError(`compose: two components are called '${id}'. Name one of them otherwise, or leave it out if it is the same.`);
    ids.add(id);
    if (!shard) continue;
    const key = JSON.stringify([shard.index, shard.of, shard.by, shard.seed]);
    const other = shards.get(key);
    if (other !== undefined) throw new EspalierError(`compose: '${other}' and '${id}' are both trained on shard ${shard.index + 1} of ${shard.of}. A shard counts once: leave one out.`);
    shards.set(key, id);
  }
}

function weightsOf(components: readonly Component[], weights: Weights): number[] {
  if (weights === 'uniform') return components.map(() => 1 / components.length);
  if (weights === 'samples') {
    const counts = components.map(({ id, shard }) => {
      if (!shard?.samples) throw new EspalierError(`compose: component '${id}' does not say how many samples it has seen, which weights 'samples' needs. Give numbers, or 'uniform'.`);
      return shard.samples;
    });
    const total = counts.reduce((a, b) => a + b, 0);
    return counts.map((n) => n / total);
  }
  if (weights.length !== components.length || !weights.every(Number.isFinite))
    throw new EspalierError(`compose: ${weights.length} weights (${weights.join(', ')}) for ${components.length} components; expected one finite number for each`);
  return [...weights];
}

function summed(parts: Composition['parts']): Map<string, HostArray> {
  const tensors = new Map<string, HostArray>();
  for (const [name, { shape, data }] of parts[0]!.component.tensors) {
    const total = new Float64Array(data.length);
    for (const { component, weight } of parts) {
      const own = component.tensors.get(name)!.data;
      for (let i = 0; i < total.length; i++) total[i]! += weight * own[i]!;
    }
    tensors.set(name, { shape, data: Float32Array.from(total) });
  }
  return tensors;
}

const isUniform = (parts: Composition['parts']): boolean => parts.every((p) => Math.abs(p.weight - 1 / parts.length) < 1e-12);

function requireUniform({ parts }: Composition, what: string): void {
  if (!isUniform(parts)) throw new EspalierError(`${what}: this composition has weights of its own (${parts.map((p) => p.weight).join(', ')}). Compose its components and the new one with weights for all.`);
}
