import * as tf from '@tensorflow/tfjs';
import { adapt, CheckpointError, definePlugin, load, mul, normal, OptionsError, readManifest, readSafetensors, save, value, writeSafetensors, type Restorer, type StoredTensor } from '@espalier/core';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { useCpu } from './backend.ts';
import { toBeBitEqual, toRefuse } from './matchers.ts';
import { memoryStore } from './store.ts';
import { drawn, tinyOneStream, tinyTwoStream, type TinyModel } from './tiny.ts';
import { jitter, snapshot } from './training.ts';

let model: TinyModel;
let tensors = 0;
beforeAll(async () => {
  await useCpu();
  model = tinyOneStream();
});
afterAll(() => model.dispose());
beforeEach(() => {
  tensors = tf.memory().numTensors;
});
afterEach(() => {
  expect(tf.memory().numTensors).toBe(tensors);
});

const gains = (version = '1.2.0') =>
  definePlugin({
    name: 'gains',
    version,
    hookApi: '1.0',
    options: z.strictObject({ role: z.enum(['ffn.down', 'attention.output']).default('ffn.down') }),
    attach: (host, { role }) =>
      host.sites({ role }).map((site) => {
        const g = host.variable(`${site.path}.gain`, [16], normal(1));
        return value(site, (x, step) => mul(x, step.read(g)));
      }),
  });
const resolve = (): Restorer => gains();

/** A saved directory of two instances, one of them frozen. */
async function saved() {
  const factory = gains();
  const adapted = adapt(model, [factory({}, { as: 'a' }), factory({ role: 'attention.output' }, { trainable: false })], { seed: 3 });
  jitter(adapted);
  const store = memoryStore();
  const manifest = await save(adapted, store, { config: { width: 16 }, weights: 'tiny.safetensors', task: { answers: ['yes', 'no'] } });
  const variables = snapshot(adapted);
  adapted.dispose();
  return { store, manifest, variables };
}
/** The same directory with one tensor file changed. */
async function edited(change: (tensors: Map<string, StoredTensor>) => void) {
  const { store } = await saved();
  const file = 'gains#a.safetensors';
  const all = new Map(readSafetensors(store.files.get(file)!).tensors);
  change(all);
  store.files.set(file, writeSafetensors(all));
  return store;
}
const refused = (store: ReturnType<typeof memoryStore>, ...words: string[]) => toRefuse(() => load(model, store, { resolve }), CheckpointError, ...words);
const rewrite = (store: ReturnType<typeof memoryStore>, change: (manifest: Record<string, unknown>) => unknown) =>
  store.files.set('manifest.json', new TextEncoder().encode(JSON.stringify(change(JSON.parse(new TextDecoder().decode(store.files.get('manifest.json')))))));

describe('a saved directory', () => {
  it('is a manifest and one file for each instance', async () => {
    const { store, manifest } = await saved();
    expect([...store.files.keys()]).toEqual(['gains#a.safetensors', 'gains.safetensors', 'manifest.json']);
    expect(await readManifest(store)).toEqual(manifest);
    expect(manifest).toMatchObject({
      format: 1, hookApi: '1.0', seed: 3, task: { answers: ['yes', 'no'] },
      base: { model: 'tiny-one-stream', config: { width: 16 }, weights: 'tiny.safetensors' },
      plugins: [
        { name: 'gains', instance: 'gains#a', version: '1.2.0', package: '@espalier/gains', trainable: true, options: { role: 'ffn.down' }, file: 'gains#a.safetensors' },
        { name: 'gains', instance: 'gains', trainable: false, options: { role: 'attention.output' }, file: 'gains.safetensors' },
      ],
    });
    expect(manifest.base.fingerprint).toMatch(/^[0-9a-f]{64}$/);
  });

  it('gives back plugins, names, options and every variable', async () => {
    const { store, variables } = await saved();
    const restored = await load(model, store, { resolve });
    expect(restored.seed).toBe(3);
    expect(restored.plugins.map((p) => [p.instance, p.trainable])).toEqual([['gains#a', true], ['gains', false]]);
    for (const [name, values] of snapshot(restored)) toBeBitEqual(values, variables.get(name)!, name);
    restored.dispose();
  });

  it('can name the packages of its plugins', async () => {
    const adapted = adapt(model, [gains()()]);
    const manifest = await save(adapted, memoryStore(), { config: null, packages: { gains: 'my-gains' } });
    expect(manifest.plugins[0]!.package).toBe('my-gains');
    adapted.dispose();
  });
});

describe('the fingerprint', () => {
  it('is of every array of the model and of nothing else', async () => {
    const base = adapt(model, []);
    const first = await base.fingerprint();
    expect(await adapt(tinyOf('none'), []).fingerprint()).toBe(first);
    expect(await adapt(tinyOf('joint.embed.words.table'), []).fingerprint()).not.toBe(first);
    expect(await adapt(tinyOf('head.norm.beta'), []).fingerprint()).not.toBe(first);
    for (const m of made.splice(0)) m.dispose();
  });
  const made: TinyModel[] = [];
  /** The model with one array a little changed. */
  const tinyOf = (changed: string) => {
    const other = tinyOneStream({ tensors: (path, shape) => tf.tidy(() => (path === changed ? tf.add(drawn(0)(path, shape), 1e-6) : drawn(0)(path, shape))) });
    made.push(other);
    return other;
  };

  it('keeps plugins off another base', async () => {
    const { store } = await saved();
    const other = tinyOf('joint.0.ffn.up.kernel');
    await toRefuse(() => load(other, store, { resolve }), CheckpointError, 'fingerprint', 'tiny.safetensors');
    const two = tinyTwoStream();
    await toRefuse(() => load(two, store, { resolve }), CheckpointError, "saved on a 'tiny-one-stream', this model is a 'tiny-two-stream'");
    for (const m of [two, ...made.splice(0)]) m.dispose();
  });
});

describe('a directory that is refused', () => {
  it('has no manifest, because writing it did not finish', async () => {
    const files = new Map<string, Uint8Array>();
    const store = memoryStore(files);
    const adapted = adapt(model, [gains()()]);
    const full = { ...store, write: (name: string, bytes: Uint8Array) => (name === 'manifest.json' ? Promise.reject(new Error('disk full')) : store.write(name, bytes)) };
    await expect(save(adapted, full, { config: {} })).rejects.toThrow('disk full');
    adapted.dispose();
    expect(files.size).toBe(1);
    await refused(store, 'no manifest.json here', 'saving it did not finish');
  });

  it.each<[string, (m: Record<string, unknown>) => unknown, string[]]>([
    ['of another format', (m) => ({ ...m, format: 2 }), ['manifest.json', 'format']],
    ['with a key too many', (m) => ({ ...m, extra: 1 }), ['manifest.json', 'extra']],
    ['without plugins', ({ plugins: _, ...m }) => m, ['manifest.json', 'plugins']],
    ['with a file outside the directory', (m) => ({ ...m, plugins: [{ name: 'x', instance: 'x', version: '1.0.0', package: 'x', trainable: true, options: {}, file: '../x.safetensors' }] }), ['plugins.0.file']],
    ['that is a list', () => [], ['manifest.json']],
  ])('has a manifest %s', async (_, change, words) => {
    const { store } = await saved();
    rewrite(store, change);
    await refused(store, ...words);
  });

  it('has a manifest cut off', async () => {
    const { store } = await saved();
    store.files.set('manifest.json', store.files.get('manifest.json')!.slice(0, -20));
    await refused(store, 'manifest.json is not JSON');
  });

  it('misses a file of tensors, or has one cut off', async () => {
    const { store } = await saved();
    const file = 'gains#a.safetensors';
    const bytes = store.files.get(file)!;
    store.files.delete(file);
    await refused(store, "gains#a.safetensors of 'gains#a' is missing");
    store.files.set(file, bytes.slice(0, -4));
    await refused(store, file, 'cut off');
  });

  it('has tensors missing, too many, misshapen or of another type', async () => {
    const name = 'joint.0.ffn.down.gain';
    await refused(await edited((t) => t.delete(name)), `variable '${name}' of 'gains#a' is missing`);
    await refused(await edited((t) => t.set('joint.0.ffn.down.gian', t.get(name)!)), "has no variable 'joint.0.ffn.down.gian'", `Did you mean '${name}'`);
    await refused(await edited((t) => t.set(name, { dtype: 'F32', shape: [4, 4], data: new Float32Array(16) })), `'${name}' has shape [4, 4], 'gains#a' expects [16]`);
    await refused(await edited((t) => t.set(name, { dtype: 'I32', shape: [16], data: new Int32Array(16) })), `'${name}' is I32, expected F32`);
  });

  it('was saved by another major version of a plugin', async () => {
    const { store } = await saved();
    await toRefuse(() => load(model, store, { resolve: () => gains('2.0.0') }), CheckpointError, "'gains#a' was saved by @espalier/gains 1.2.0; installed is 2.0.0. Install a version 1.x.");
    const newer = await load(model, store, { resolve: () => gains('1.9.3') });
    newer.dispose();
  });

  it('has options that the plugin refuses', async () => {
    const { store } = await saved();
    rewrite(store, (m) => ({ ...m, plugins: z.array(z.looseObject({})).parse(m['plugins']).map((p) => ({ ...p, options: { rol: 'x' } })) }));
    await toRefuse(() => load(model, store, { resolve }), OptionsError, "'gains#a' has no option 'rol'. Did you mean 'role'?");
  });
});
