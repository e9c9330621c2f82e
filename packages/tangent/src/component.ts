import * as tf from '@tensorflow/tfjs';
import { CheckpointError, didYouMean, EspalierError, readSafetensors, writeSafetensors, type Adapted, type ParameterPoint } from '@espalier/core';
import { z } from 'zod';
import { Identity, identityOf, selectionHash } from './identity.ts';
import { PrivacyRecord } from './privacy-record.ts';

/** Which part of the data a component has seen. */
export const ShardRecord = z.strictObject({
  index: z.int().nonnegative(), // from 0
  of: z.int().positive(),
  by: z.enum(['random', 'class']),
  seed: z.int(),
  samples: z.int().nonnegative(),
});
export type ShardRecord = z.infer<typeof ShardRecord>;

export interface HostArray {
  readonly shape: readonly number[];
  readonly data: Float32Array;
}

/** Tangents trained on one shard, with all that says what they may be composed with. */
export interface Component {
  readonly id: string;
  readonly tensors: ReadonlyMap<string, HostArray>; // by path within the plugin
  readonly identity: Identity;
  readonly shard?: ShardRecord | undefined;
  readonly privacy?: PrivacyRecord | undefined;
  readonly hyper?: Readonly<Record<string, unknown>> | undefined; // how it was trained
}

const Record = z.strictObject({
  format: z.literal(1),
  id: z.string().min(1),
  identity: Identity,
  shard: ShardRecord.optional(),
  privacy: PrivacyRecord.optional(),
  hyper: z.record(z.string(), z.unknown()).optional(),
});

export interface ComponentOptions {
  readonly id: string;
  readonly instance?: string; // of the plugin; default 'tangent'
  readonly answers?: readonly string[]; // in the order of the logits: part of the head
  readonly shard?: ShardRecord | undefined;
  readonly privacy?: PrivacyRecord | undefined;
  readonly hyper?: Readonly<Record<string, unknown>> | undefined;
}

/** The tangents of an adapted model as a component. @throws EspalierError when there is no such tangent. */
export async function componentOf<I>(adapted: Adapted<I>, { id, instance = 'tangent', answers, shard, privacy, hyper }: ComponentOptions): Promise<Component> {
  const tensors = new Map<string, HostArray>();
  for (const p of tangentsOf(adapted, instance)) tensors.set(p.path.slice(instance.length + 1), { shape: p.variable.shape, data: (await p.variable.data<'float32'>()).slice() });
  return { id, tensors, identity: await identityOf(adapted, instance, answers), shard, privacy, hyper };
}

/** The variables of a tangent instance. @throws EspalierError when there is none of that name. */
export function tangentsOf<I>(adapted: Adapted<I>, instance: string): ParameterPoint[] {
  const names = adapted.plugins.filter((p) => p.name === 'tangent').map((p) => p.instance);
  if (!names.includes(instance)) throw new EspalierError(`no tangent '${instance}' here.${didYouMean(instance, names)} There are ${names.join(', ') || 'none'}.`);
  return [...adapted.parameters.values()].filter((p) => p.instance === instance);
}

/** Sets the tangents of a model, which must be those that the tensors are of. @throws CheckpointError naming the first that is not. */
export function setTangents<I>(adapted: Adapted<I>, tensors: ReadonlyMap<string, HostArray>, instance = 'tangent'): void {
  const points = tangentsOf(adapted, instance);
  for (const name of tensors.keys()) if (!points.some((p) => p.path === `${instance}/${name}`)) throw new CheckpointError(`'${instance}' has no tangent '${name}'`);
  for (const p of points) {
    const own = tensors.get(p.path.slice(instance.length + 1));
    if (own?.shape.join() !== p.variable.shape.join()) throw new CheckpointError(`tangent '${p.path}' is [${p.variable.shape.join(', ')}], given is ${own ? `[${own.shape.join(', ')}]` : 'none'}`);
    tf.tidy(() => p.variable.assign(tf.tensor(own.data, [...own.shape])));
  }
}

/** A component as a safetensors file. */
export function writeComponent({ id, tensors, identity, shard, privacy, hyper }: Component): Uint8Array {
  const record: z.input<typeof Record> = {
    format: 1, id, identity,
    ...(shard && { shard }), ...(privacy && { privacy }), ...(hyper && { hyper }),
  };
  return writeSafetensors(tensors, { component: JSON.stringify(record) });
}

/** Reads what `writeComponent` wrote. @throws CheckpointError naming file and field when it is anything else. */
export function readComponent(bytes: Uint8Array, file = 'component'): Component {
  const { tensors, metadata } = readSafetensors(bytes, file);
  const text = metadata['component'];
  if (text === undefined) throw new CheckpointError(`${file} is no tangent component: its header has no entry 'component'`);
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (e) {
    throw new CheckpointError(`${file}: the entry 'component' is not JSON: ${e instanceof Error ? e.message : String(e)}`);
  }
  const parsed = Record.safeParse(json);
  if (!parsed.success) throw new CheckpointError(`${file}: ${parsed.error.issues.map((i) => `${i.path.join('.') || 'component'}: ${i.message}`).join('; ')}`);
  const own = new Map<string, HostArray>();
  for (const [name, { shape, data, dtype }] of tensors) {
    if (!(data instanceof Float32Array)) throw new CheckpointError(`${file}: tangent '${name}' is ${dtype}, expected F32`);
    own.set(name, { shape, data });
  }
  const { format: _, ...rest } = parsed.data;
  const found = selectionHash([...own].map(([name, { shape }]) => [name, shape]));
  if (found !== rest.identity.selection) throw new CheckpointError(`${file}: its tensors are not those of its selection (${rest.identity.selection.slice(0, 12)} expected, ${found.slice(0, 12)} found)`);
  return { ...rest, tensors: own };
}
