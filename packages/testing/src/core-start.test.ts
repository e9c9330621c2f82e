import * as tf from '@tensorflow/tfjs';
import { adapt, add, CheckpointError, constant, definePlugin, FROZEN, save, start, value, type Adapted } from '@espalier/core';
import { afterAll, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { scaler, tinyModels, tinyOneStream, toRefuse } from './index.ts';
import { memoryStore } from './store.ts';
import type { TinyInputs } from './inputs.ts';

const { one, inputs } = await tinyModels(afterAll);
let asked = 0;

/** Adds two numbers to what leaves a block: one that counts samples, and one that nothing trains. */
const offsets = definePlugin({
  name: 'offsets', version: '1.0.0', hookApi: '1.0', options: z.strictObject({}),
  attach: (host) => {
    const [moved, kept] = [host.variable('moved', [1], constant(0)), host.variable('kept', [1], constant(2), FROZEN)];
    return host.sites({ role: 'block.output' }).map((site) => value(site, (x, step) => add(add(x, step.read(moved)), step.read(kept))));
  },
  prepare: async (adapted, instance, _, batches) => {
    asked++;
    let seen = 0;
    for await (const batch of batches) seen += adapted.model.batch(batch);
    tf.tidy(() => adapted.parameters.get(`${instance}/moved`)!.variable.assign(tf.tensor1d([seen])));
  },
});
async function* twice(): AsyncGenerator<TinyInputs> {
  for (const batch of [inputs, inputs]) yield await Promise.resolve(batch);
}
const moved = (adapted: Adapted<TinyInputs>) => adapted.parameters.get('offsets/moved')!.variable.dataSync()[0];

describe('variables of the group FROZEN', () => {
  it('are saved and in force, and no optimiser is given them', async () => {
    const adapted = adapt(one, [offsets()]);
    expect(adapted.trainable.map((p) => p.path)).toEqual(['offsets/moved']);
    const store = memoryStore();
    await save(adapted, store, { config: {} });
    const other = adapt(one, [offsets()]);
    other.parameters.get('offsets/kept')!.variable.assign(tf.tensor1d([7]));
    await start(other, store);
    expect(other.parameters.get('offsets/kept')!.variable.dataSync()[0]).toBe(2);
  });
});

describe('prepare', () => {
  it('gives every plugin that asks the inputs, once, and not where variables were loaded', async () => {
    asked = 0;
    const adapted = adapt(one, [offsets(), scaler()]);
    await adapted.prepare(twice);
    await adapted.without('scaler').prepare(twice);
    expect([asked, moved(adapted)]).toEqual([1, 6]);
    const store = memoryStore();
    await save(adapted, store, { config: {} });
    const later = adapt(one, [offsets()]);
    await start(later, store);
    await later.prepare(twice);
    expect([asked, moved(later)]).toEqual([1, 6]);
  });

  it('leaves plugins alone that are not trained', async () => {
    const adapted = adapt(one, [offsets({}, { trainable: false })]);
    await adapted.prepare(twice);
    expect(moved(adapted)).toBe(0);
  });
});

describe('start', () => {
  it('takes the instances of the same name and leaves the others', async () => {
    const adapted = adapt(one, [offsets(), scaler()]);
    await adapted.prepare(twice);
    const store = memoryStore();
    await save(adapted, store, { config: {} });
    const other = adapt(one, [offsets(), scaler({}, { as: 'mine' })]);
    expect(await start(other, store)).toEqual(['offsets']);
    expect(moved(other)).toBe(6);
    await toRefuse(() => start(other, store, ['scaler#mine']), CheckpointError, 'offsets, scaler', 'scaler#mine');
    const base = tinyOneStream({ seed: 1 });
    await toRefuse(() => start(adapt(base, [offsets()]), store), CheckpointError, 'fingerprint');
    base.dispose();
  });
});
