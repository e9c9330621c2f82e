import { z } from 'zod';
import type { Adapted } from './adapt.ts';
import { adapt, settled, type Model } from './adapt.ts';
import { CheckpointError, didYouMean } from './errors.ts';
import { HOOK_API, type Restorer } from './plugin.ts';
import { readSafetensors, writeSafetensors } from './safetensors.ts';
import * as tf from '@tensorflow/tfjs';

/** Where a model directory lives: a folder, a browser's storage, memory. `write` must be atomic. */
export interface Store {
  read(name: string): Promise<Uint8Array | undefined>; // undefined when there is no such file
  write(name: string, bytes: Uint8Array): Promise<void>;
}

const MANIFEST = 'manifest.json';

const Saved = z.strictObject({
  name: z.string(),
  instance: z.string(),
  version: z.string(),
  package: z.string(), // what to import it from
  trainable: z.boolean(),
  options: z.unknown(),
  file: z.string().regex(/^[\w.#-]+\.safetensors$/),
});
const ManifestSchema = z.strictObject({
  format: z.literal(1),
  hookApi: z.string(),
  seed: z.int(),
  base: z.strictObject({ model: z.string(), fingerprint: z.string(), config: z.unknown(), weights: z.string().optional() }),
  plugins: z.array(Saved), // in order
  task: z.unknown().optional(), // what the application needs to use the model: answers, data options
});

/** What a saved model directory says of itself. The backbone's arrays are never in it, only their fingerprint. */
export type Manifest = z.infer<typeof ManifestSchema>;

export interface SaveOptions {
  readonly config: unknown; // of the backbone, so that it can be built again
  readonly weights?: string; // where the backbone's arrays were read from
  readonly task?: unknown;
  readonly fingerprint?: string; // of the base where the caller has it already: it is frozen, so once is enough
  readonly packages?: Readonly<Record<string, string>>; // method -> package; default @espalier/METHOD
}

/** Writes one safetensors file per plugin instance, then `manifest.json`, which makes the directory valid. */
export async function save<I>(adapted: Adapted<I>, store: Store, options: SaveOptions): Promise<Manifest> {
  const plugins = [];
  for (const p of adapted.plugins) {
    const file = `${p.instance}.safetensors`;
    const own = [...adapted.parameters.values()].filter((v) => v.instance === p.instance);
    const tensors = new Map<string, { shape: readonly number[]; data: Float32Array }>();
    for (const { path, variable } of own) tensors.set(path.slice(p.instance.length + 1), { shape: variable.shape, data: await variable.data<'float32'>() });
    await store.write(file, writeSafetensors(tensors, { plugin: p.name, instance: p.instance, version: p.version }));
    plugins.push({
      name: p.name, instance: p.instance, version: p.version, package: options.packages?.[p.name] ?? `@espalier/${p.name}`,
      trainable: p.trainable, options: p.options, file,
    });
  }
  const manifest: Manifest = {
    format: 1,
    hookApi: HOOK_API,
    seed: adapted.seed,
    base: {
      model: adapted.model.name, fingerprint: options.fingerprint ?? (await adapted.fingerprint()), config: options.config,
      ...(options.weights !== undefined && { weights: options.weights }),
    },
    plugins,
    ...(options.task !== undefined && { task: options.task }),
  };
  await store.write(MANIFEST, new TextEncoder().encode(`${JSON.stringify(manifest, null, 1)}\n`));
  return manifest;
}

/** Reads `manifest.json`. @throws CheckpointError when it is missing or not of this format. */
export async function readManifest(store: Store): Promise<Manifest> {
  const bytes = await store.read(MANIFEST);
  if (!bytes) throw new CheckpointError(`no ${MANIFEST} here: this is not a saved model directory, or saving it did not finish`);
  let json: unknown;
  try {
    json = JSON.parse(new TextDecoder().decode(bytes));
  } catch (e) {
    throw new CheckpointError(`${MANIFEST} is not JSON: ${e instanceof Error ? e.message : String(e)}`);
  }
  const parsed = ManifestSchema.safeParse(json);
  if (!parsed.success) throw new CheckpointError(`${MANIFEST}: ${parsed.error.issues.map((i) => `${i.path.join('.') || 'top level'}: ${i.message}`).join('; ')}`);
  return parsed.data;
}

export interface LoadOptions {
  /** The factory of a saved plugin, by method and package. */
  resolve(method: string, from: string): Promise<Restorer> | Restorer;
}

/**
 * Puts the saved plugins on the same frozen model. Strict: the base's fingerprint, every plugin's major version, and
 * every tensor's name and shape must agree. @throws CheckpointError saying which do not.
 */
export async function load<I>(model: Model<I>, store: Store, { resolve }: LoadOptions): Promise<Adapted<I>> {
  const manifest = await readManifest(store);
  if (manifest.base.model !== model.name)
    throw new CheckpointError(`saved on a '${manifest.base.model}', this model is a '${model.name}'`);
  const plugins = [];
  for (const saved of manifest.plugins) {
    const factory = await resolve(saved.name, saved.package);
    if (major(factory.version) !== major(saved.version))
      throw new CheckpointError(`'${saved.instance}' was saved by ${saved.package} ${saved.version}; installed is ${factory.version}. Install a version ${major(saved.version)}.x.`);
    const as = saved.instance === saved.name ? undefined : saved.instance.slice(saved.name.length + 1);
    plugins.push(factory.from(saved.options, { trainable: saved.trainable, ...(as !== undefined && { as }) }));
  }
  const adapted = adapt(model, plugins, { seed: manifest.seed });
  try {
    const found = await adapted.fingerprint();
    if (found !== manifest.base.fingerprint)
      throw new CheckpointError(`saved on a base with fingerprint ${manifest.base.fingerprint.slice(0, 12)}, this model has ${found.slice(0, 12)}: load the weights it was trained on${manifest.base.weights ? ` (${manifest.base.weights})` : ''}`);
    await restore(adapted, store, manifest);
    return adapted;
  } catch (e) {
    adapted.dispose();
    throw e;
  }
}

/**
 * Sets the variables of a model that already has its plugins to the saved ones. The plugin instances must be those of
 * the manifest. @throws CheckpointError naming the instance, file or tensor that differs.
 */
export async function restore<I>(adapted: Adapted<I>, store: Store, manifest?: Manifest): Promise<void> {
  const { plugins } = manifest ?? (await readManifest(store));
  const saved = plugins.map((p) => p.instance).sort().join(', ');
  const here = adapted.plugins.map((p) => p.instance).sort().join(', ');
  if (saved !== here) throw new CheckpointError(`saved with the plugins ${saved || 'none'}, this model has ${here || 'none'}: adapt the model with the same ones`);
  for (const { instance, file } of plugins) await restoreInstance(adapted, instance, file, store);
}

/**
 * Sets the variables of plugins to those of the instances of the same name that another model saved, on the same frozen
 * arrays; variables of all other instances stay as they are. Gives the names of these instances. @throws CheckpointError when
 * there is none, when the base is another, and where a variable's name or shape does not agree.
 */
export async function start<I>(adapted: Adapted<I>, store: Store, instances: readonly string[] = adapted.plugins.map((p) => p.instance)): Promise<readonly string[]> {
  const { plugins, base } = await readManifest(store);
  const common = plugins.filter((p) => instances.includes(p.instance));
  if (!common.length) throw new CheckpointError(`saved are the plugins ${plugins.map((p) => p.instance).join(', ') || 'none'}, to be started are ${instances.join(', ') || 'none'}: name one alike`);
  const found = await adapted.fingerprint();
  if (found !== base.fingerprint) throw new CheckpointError(`saved on a base with fingerprint ${base.fingerprint.slice(0, 12)}, this model has ${found.slice(0, 12)}: start from what was trained on the same weights`);
  for (const { instance, file } of common) await restoreInstance(adapted, instance, file, store);
  return common.map((p) => p.instance);
}

/** Reads one instance's variables from its file, strictly. */
async function restoreInstance<I>(adapted: Adapted<I>, instance: string, file: string, store: Store): Promise<void> {
  const bytes = await store.read(file);
  if (!bytes) throw new CheckpointError(`${file} of '${instance}' is missing`);
  const { tensors } = readSafetensors(bytes, file);
  const own = [...adapted.parameters.values()].filter((p) => p.instance === instance);
  const names = own.map((p) => p.path.slice(instance.length + 1));
  for (const name of tensors.keys())
    if (!names.includes(name)) throw new CheckpointError(`${file}: '${instance}' has no variable '${name}'.${didYouMean(name, names)}`);
  for (const p of own) {
    const name = p.path.slice(instance.length + 1);
    const t = tensors.get(name);
    if (!t) throw new CheckpointError(`${file}: variable '${name}' of '${instance}' is missing`);
    if (t.shape.join() !== p.variable.shape.join())
      throw new CheckpointError(`${file}: variable '${name}' has shape [${t.shape.join(', ')}], '${instance}' expects [${p.variable.shape.join(', ')}]`);
    if (!(t.data instanceof Float32Array)) throw new CheckpointError(`${file}: variable '${name}' is ${t.dtype}, expected F32`);
    const value = tf.tensor(t.data, [...t.shape]);
    p.variable.assign(value);
    settled.add(p.variable);
    value.dispose();
  }
}

const major = (version: string) => version.split('.')[0];
