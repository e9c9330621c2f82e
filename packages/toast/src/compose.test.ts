import { adapt, load, RefusedError, save, totalMacs } from '@espalier/core';
import { jitter, lossOf, memoryStore, tinyModels, toBeAllClose, toBeBitEqual, toRefuse } from '@espalier/testing';
import { afterAll, describe, expect, it } from 'vitest';
import { composeFeedback } from './compose.ts';
import { toast } from './toast.ts';

const { one, two, inputs } = await tinyModels(afterAll);

describe('feedback multiplied out', () => {
  it.each<[string, typeof one, Parameters<typeof toast>[0]]>([
    ['one stream', one, { freezeP: false }],
    ['two streams', two, { to: 0, scheme: 'b', task: 'question' }],
    ['cross blocks, B alone', two, { freezeA: true }],
  ])('gives the same output for half the products: %s', async (_, model, options) => {
    const adapted = adapt(model, [toast(options)]);
    jitter(adapted);
    const composed = composeFeedback(adapted);
    toBeAllClose(await composed.forward(inputs), await adapted.forward(inputs), { relative: 1e-5 }, 'output');
    const own = async (of: typeof adapted) => totalMacs(await of.account(inputs), (r) => r.instance === 'toast');
    expect(await own(composed)).toBeLessThanOrEqual(await own(adapted));
    expect([...composed.parameters.keys()].some((name) => /\.(a|b|p)$/.test(name))).toBe(false);
    expect(composed.trainable).toEqual([]);
    expect(await lossOf(composed, inputs, {})).toBeCloseTo(await lossOf(adapted, inputs, {}), 4);
  });

  it('costs d^2 per token and signal instead of 2 d^2', async () => {
    const adapted = adapt(one, [toast({ gate: false })]);
    const own = async (of: typeof adapted) => totalMacs(await of.account(inputs), (r) => r.instance === 'toast');
    const tokens = inputs.ids.shape[1] + inputs.features.shape[1] + 1;
    expect([await own(adapted), await own(composeFeedback(adapted))]).toEqual([2 * 2 * 256 * tokens, 2 * 256 * tokens]);
  });

  it('is saved and loaded, by its name', async () => {
    const adapted = adapt(one, [toast({ vectors: 'modality' }, { as: 'a' })]);
    jitter(adapted);
    const composed = composeFeedback(adapted, { instance: 'toast#a' });
    const store = memoryStore();
    await save(composed, store, { config: {} });
    const restored = await load(one, store, { resolve: () => toast });
    toBeBitEqual(await restored.forward(inputs), await composed.forward(inputs), 'output');
  });

  it('is refused where it would cost more', async () => {
    await toRefuse(() => composeFeedback(adapt(one, [toast({ feedback: 'lite' })])), RefusedError, "'toast'", 'cheaper');
    await toRefuse(() => composeFeedback(composeFeedback(adapt(one, [toast()]))), RefusedError, 'already');
  });
});
