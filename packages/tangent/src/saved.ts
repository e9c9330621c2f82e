import { CheckpointError, EspalierError, type Application, type DirectoryFiles, type Workplace } from '@espalier/core';
import { z } from 'zod';
import { componentOf, readComponent, setTangents, ShardRecord, writeComponent, type Component } from './component.ts';
import { compose, type Composition } from './composition.ts';
import { differences, Identity, identityOf } from './identity.ts';
import { parallel, PrivacyRecord } from './privacy-record.ts';

/** The file that makes a model directory a composition; components lie beside it, each in a file of its own. */
const FILE = 'composition.json';
const Saved = z.strictObject({
  format: z.literal(1),
  instance: z.string(),
  sum: z.boolean(), // weights that do not sum to one were wanted
  identity: Identity,
  components: z.array(z.strictObject({ id: z.string(), weight: z.number(), shard: ShardRecord.optional(), privacy: PrivacyRecord.optional() })).min(1),
  /** Of the whole, by parallel composition, where every component is private and no two share a sample. */
  privacy: PrivacyRecord.optional(),
});

const fileOf = (id: string): string => `components/${id}.safetensors`;

/** Writes the components first and what makes them a composition last. @throws EspalierError for an id that is no file name. */
export async function saveComposition(files: DirectoryFiles, { parts, identity, affine }: Composition, instance: string): Promise<void> {
  for (const { component } of parts) {
    if (!/^[\w.#-]+$/.test(component.id)) throw new EspalierError(`'${component.id}' cannot be a component's name: use letters, digits, '.', '_', '#' and '-'`);
    await files.write(fileOf(component.id), writeComponent(component));
  }
  const privacy = parallel(parts.map((p) => p.component));
  const saved: z.input<typeof Saved> = {
    format: 1, instance, sum: !affine, identity,
    components: parts.map(({ component: { id, shard, privacy: own }, weight }) => ({ id, weight, ...(shard && { shard }), ...(own && { privacy: own }) })),
    ...(privacy && { privacy }),
  };
  await files.write(FILE, new TextEncoder().encode(`${JSON.stringify(saved, null, 1)}\n`));
}

/** The composition in a model directory; undefined where there is none. @throws CheckpointError naming the file that is not as it was written. */
export async function readComposition(files: DirectoryFiles, directory: string): Promise<{ composition: Composition; instance: string } | undefined> {
  const bytes = await files.read(FILE);
  if (!bytes) return undefined;
  let json: unknown;
  try {
    json = JSON.parse(new TextDecoder().decode(bytes));
  } catch (e) {
    throw new CheckpointError(`${directory}/${FILE} is not JSON: ${e instanceof Error ? e.message : String(e)}`);
  }
  const parsed = Saved.safeParse(json);
  if (!parsed.success) throw new CheckpointError(`${directory}/${FILE}: ${parsed.error.issues.map((i) => `${i.path.join('.')}: ${i.message}`).join('; ')}`);
  const { components, sum, instance } = parsed.data;
  const read: Component[] = [];
  for (const { id } of components) {
    const file = fileOf(id);
    const own = await files.read(file);
    if (!own) throw new CheckpointError(`${directory}/${file} is missing`);
    const component = readComponent(own, `${directory}/${file}`);
    if (component.id !== id) throw new CheckpointError(`${directory}/${file} is component '${component.id}', expected '${id}'`);
    read.push(component);
  }
  return { composition: compose(read, { weights: components.map((c) => c.weight), sum }), instance };
}

/** Removes a component's file. */
export const removeFile = (files: DirectoryFiles, id: string): Promise<void> => files.remove(fileOf(id));

/** The components of a model directory: those of a composition, or the trained tangents as one, named after the directory. */
export async function componentsIn(directory: string, opened: Workplace, application: Application): Promise<{ components: readonly Component[]; instance: string }> {
  const held = await readComposition(application.files(directory), directory);
  if (held) {
    await requireOwn(directory, opened, held.composition, held.instance);
    return { components: held.composition.parts.map((p) => p.component), instance: held.instance };
  }
  const instances = opened.adapted.plugins.filter((p) => p.name === 'tangent').map((p) => p.instance);
  const [instance, ...more] = instances;
  if (instance === undefined) throw new EspalierError(`${directory} has no tangent: it was trained with ${opened.adapted.plugins.map((p) => p.instance).join(', ') || 'no plugin'}. Train with --plugin tangent.`);
  if (more.length) throw new EspalierError(`${directory} has several tangents (${instances.join(', ')}): a component is one`);
  const task = Task.parse(opened.task);
  const id = directory.replace(/[\\/]+$/, '').split(/[\\/]/).at(-1)!;
  return { components: [await componentOf(opened.adapted, { id, instance, answers: opened.answers, shard: task.shard, privacy: task.privacy })], instance };
}

const Task = z.looseObject({ shard: ShardRecord.optional(), privacy: PrivacyRecord.optional() });

/** @throws CheckpointError when a composition is not of the model beside it. */
async function requireOwn(directory: string, opened: Workplace, composition: Composition, instance: string): Promise<void> {
  const found = differences(composition.identity, await identityOf(opened.adapted, instance, opened.answers));
  if (found.length) throw new CheckpointError(`${directory}: its composition and its model have ${found.join('; and ')}`);
}

/** Puts a composition on a model and writes both. */
export async function writeModel(opened: Workplace, composition: Composition, instance: string, target: string, application: Application): Promise<void> {
  setTangents(opened.adapted, composition.tensors, instance);
  const { shard: _, privacy: __, ...task } = Task.parse(opened.task); // of one training, which a composition is more or less than
  await opened.save(target, { task });
  await saveComposition(application.files(target), composition, instance);
}
