import * as tf from '@tensorflow/tfjs';
import { adapt, CheckpointError, EspalierError, type Adapted } from '@espalier/core';
import { adapter, disposeInputs, jitter, scaler, snapshot, tinyInputs, tinyLoss, tinyModels, tinyOneStream, toBeAllClose, toBeBitEqual, toLeakNothing, toRefuse, train, type TinyInputs } from '@espalier/testing';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { componentOf, readComponent, setTangents, writeComponent, type Component } from './component.ts';
import { add, compose, influence, remove } from './composition.ts';
import { componentLogits } from './logits.ts';
import { tangent } from './tangent.ts';

const { one, two, inputs } = await tinyModels(afterAll);
const models = { 'one stream': one, 'two streams': two };

async function out(adapted: Adapted<TinyInputs>): Promise<Float32Array> {
  const y = await adapted.forward(inputs);
  const values = y.dataSync<'float32'>().slice();
  y.dispose();
  return values;
}

/** A component trained for some steps on a shard's own samples. */
async function trained(model: (typeof models)['one stream'], index: number, of = 3): Promise<Component> {
  const adapted = adapt(model, [tangent({ lastK: 1 })]);
  const own = tinyInputs({ seed: 100 + index });
  await train(adapted, own, 4, { seed: index });
  disposeInputs(own);
  const component = await componentOf(adapted, { id: `shard-${index}`, shard: { index, of, by: 'random', seed: 0, samples: 10 * (index + 1) } });
  adapted.dispose();
  return component;
}

describe.each(Object.entries(models))('components on %s', (_, model) => {
  let all: Component[];
  let host: Adapted<TinyInputs>;
  beforeAll(async () => {
    all = [await trained(model, 0), await trained(model, 1), await trained(model, 2)];
    host = adapt(model, [tangent({ lastK: 1 })]);
  });
  afterAll(() => host.dispose());
  const outputOf = async (c: Pick<Component, 'tensors'>) => {
    setTangents(host, c.tensors);
    return out(host);
  };

  it('the mean of the tangents gives the mean of the outputs, for any weights that sum to one', async () => {
    const outputs = [await outputOf(all[0]!), await outputOf(all[1]!), await outputOf(all[2]!)];
    for (const weights of ['uniform', 'samples', [0.5, 1.25, -0.75]] as const) {
      const numbers = weights === 'uniform' ? [1 / 3, 1 / 3, 1 / 3] : weights === 'samples' ? [1 / 6, 2 / 6, 3 / 6] : weights;
      const composition = compose(all, { weights });
      expect(composition.affine).toBe(true);
      const expected = outputs[0]!.map((_, i) => numbers.reduce((sum, a, k) => sum + a * outputs[k]![i]!, 0));
      toBeAllClose(await outputOf(composition), expected, { relative: 2e-6 }, String(weights));
    }
  });

  it('does not depend on the order, and one by one is as all at once, bit for bit', () => {
    const whole = compose(all);
    const grown = add(add(compose([all[2]!]), all[0]!), all[1]!);
    for (const other of [compose([all[1]!, all[2]!, all[0]!]), grown])
      for (const [name, { data }] of whole.tensors) toBeBitEqual(other.tensors.get(name)!.data, data, name);
  });

  it('without a component is what composing the others gives: the same bits, or up to rounding from two arrays alone', async () => {
    const whole = compose(all);
    const others = compose([all[0]!, all[2]!]);
    const [exact, quick] = [remove(whole, 'shard-1'), remove(whole, 'shard-1', { exact: false })];
    for (const [name, { data }] of others.tensors) {
      toBeBitEqual(exact.tensors.get(name)!.data, data, name);
      toBeAllClose(quick.tensors.get(name)!.data, data, { relative: 1e-6 }, name);
    }
    toBeBitEqual(await outputOf(exact), await outputOf(others), 'output');
    toBeAllClose(await outputOf(quick), await outputOf(others), { relative: 1e-6 }, 'output');
    expect(exact.parts.map((p) => p.component.id)).toEqual(['shard-0', 'shard-2']);
    const last = remove(exact, 'shard-2');
    for (const [name, { data }] of all[0]!.tensors) toBeBitEqual(last.tensors.get(name)!.data, data, name);
    for (const [name, { data }] of remove(add(others, all[1]!), 'shard-1').tensors) toBeBitEqual(data, others.tensors.get(name)!.data, name);
  });

  it('without a component of weights of their own: those of the others scaled; of a sum that is no mean: as they were', () => {
    const weighed = remove(compose(all, { weights: [0.5, 0.3, 0.2] }), 'shard-0');
    expect(weighed.parts.map((p) => p.weight)).toEqual([0.6, 0.4]);
    const summed = remove(compose(all, { weights: [1, 1, 1], sum: true }), 'shard-0');
    expect(summed.parts.map((p) => p.weight)).toEqual([1, 1]);
    for (const [name, { data }] of compose([all[1]!, all[2]!], { weights: [1, 1], sum: true }).tensors) toBeBitEqual(summed.tensors.get(name)!.data, data, name);
  });

  it('is what it would be had the removed shard never been there: others trained afresh have the same bits', async () => {
    const again = [await trained(model, 0), await trained(model, 2)];
    [all[0]!, all[2]!].forEach((c, i) => {
      for (const [name, { data }] of c.tensors) toBeBitEqual(again[i]!.tensors.get(name)!.data, data, `${c.id} ${name}`);
      expect(again[i]!.identity).toEqual(c.identity);
    });
    toBeBitEqual(await outputOf(compose(again)), await outputOf(remove(compose(all), 'shard-1')), 'output');
  });

  it('has an influence: how far it is from the mean of the others', () => {
    const whole = compose(all);
    const flat = all.map((c) => [...c.tensors.values()].flatMap(({ data }) => [...data]));
    const expected = Math.hypot(...flat[0]!.map((x, i) => x - (flat[1]![i]! + flat[2]![i]!) / 2));
    expect(influence(whole, 'shard-0') / expected).toBeCloseTo(1, 6);
    // Composed with itself under other names it has none.
    const twins = compose(['a', 'b', 'c'].map((id) => ({ ...all[0]!, id, shard: undefined })));
    expect(influence(twins, 'b')).toBeLessThan(1e-6);
  });

  it('says what each component answers, from one pass through the frozen model', () =>
    toLeakNothing(async () => {
      setTangents(host, all[1]!.tensors);
      const before = snapshot(host);
      const { base, of } = await componentLogits(host, inputs, all);
      for (const [name, values] of snapshot(host)) toBeBitEqual(values, before.get(name)!, name);
      const plain = adapt(model, []);
      toBeBitEqual(base.dataSync(), await out(plain), 'base');
      for (const c of all) {
        toBeBitEqual(of.get(c.id)!.dataSync(), await outputOf(c), c.id);
      }
      tf.dispose([base, ...of.values()]);
    }));

  it('comes back from a file as it was', () => {
    const read = readComponent(writeComponent({ ...all[1]!, hyper: { lr: 0.1 } }), 'b.safetensors');
    expect(read.identity).toEqual(all[1]!.identity);
    expect(read.shard).toEqual(all[1]!.shard);
    expect(read.hyper).toEqual({ lr: 0.1 });
    for (const [name, { data }] of all[1]!.tensors) toBeBitEqual(read.tensors.get(name)!.data, data, name);
  });
});

describe('refuses', () => {
  let a: Component;
  beforeAll(async () => {
    a = await trained(one, 0);
  });
  const other = async (adapted: Adapted<TinyInputs>, id = 'b', answers?: readonly string[]) => {
    const c = await componentOf(adapted, { id, ...(answers && { answers }) });
    adapted.dispose();
    return c;
  };

  it('components of another base, with both hashes and what differs', async () => {
    const strange = tinyOneStream({ seed: 1 });
    const b = await other(adapt(strange, [tangent({ lastK: 1 })]));
    const message = await toRefuse(() => compose([a, b]), CheckpointError, "'shard-0' and 'b'", 'another base', "the backbone's weights are", 'another head');
    for (const hash of [a.identity.base, b.identity.base, a.identity.weights, b.identity.weights]) expect(message).toContain(hash.slice(0, 12));
    strange.dispose();
    const beside = await other(adapt(one, [adapter({}, { trainable: false }), tangent({ lastK: 1 })]));
    await toRefuse(() => compose([a, beside]), CheckpointError, 'another base', 'frozen plugins are none and adapter');
    const [x, y] = [adapt(one, [scaler({}, { trainable: false }), tangent({ lastK: 1 })]), adapt(one, [scaler({}, { trainable: false }), tangent({ lastK: 1 })])];
    jitter(y);
    const [c, d] = [await other(x, 'c'), await other(y, 'd')];
    await toRefuse(() => compose([c, d]), CheckpointError, 'another base', "the frozen plugin 'scaler' differs");
    const [e, f] = [0, 1].map((seed) => adapt(one, [tangent({ lastK: 1, reinit: true })], { seed })) as [Adapted<TinyInputs>, Adapted<TinyInputs>];
    const [drawn, again] = [await other(e, 'e'), await other(f, 'f')];
    await toRefuse(() => compose([drawn, again]), CheckpointError, 'another base', 'arrays drawn anew differ', 'another head');
  });

  it('components of another selection or head', async () => {
    const wide = await other(adapt(one, [tangent({ lastK: 2 })]));
    const message = await toRefuse(() => compose([a, wide]), CheckpointError, 'another selection', `${a.identity.tangents} and ${wide.identity.tangents} tangents`);
    expect(message).toContain(wide.identity.selection.slice(0, 12));
    const [yes, no] = [await other(adapt(one, [tangent({ lastK: 1 })]), 'b', ['a', 'b', 'c']), await other(adapt(one, [tangent({ lastK: 1 })]), 'c', ['b', 'a', 'c'])];
    await toRefuse(() => compose([yes, no]), CheckpointError, 'another head', "its arrays or the answers' order differ");
  });

  it('to remove what is not there, or all there is', async () => {
    const b = { ...a, id: 'shard-7', shard: undefined };
    const whole = compose([a, b]);
    await toRefuse(() => remove(whole, 'shard-6'), EspalierError, "no component 'shard-6'", "Did you mean", 'There are shard-0, shard-7');
    await toRefuse(() => remove(remove(whole, 'shard-7'), 'shard-0'), EspalierError, 'the only component');
    await toRefuse(() => remove(compose([a, b], { weights: [1, 0] }), 'shard-0'), EspalierError, 'all of the weight');
    await toRefuse(() => influence(compose([a]), 'shard-0'), EspalierError, 'the only component');
  });

  it('a component or a shard twice, and weights that are none', async () => {
    await toRefuse(() => compose([]), EspalierError, 'no component');
    await toRefuse(() => compose([a, a]), EspalierError, "two components are called 'shard-0'");
    await toRefuse(() => compose([a, { ...a, id: 'again' }]), EspalierError, "'shard-0' and 'again' are both trained on shard 1 of 3");
    const b = { ...a, id: 'b', shard: undefined };
    await toRefuse(() => compose([a, b], { weights: [1] }), EspalierError, '1 weights (1) for 2 components');
    await toRefuse(() => compose([a, b], { weights: [1, 1] }), EspalierError, 'sum to 2, expected 1', 'sum: true');
    await toRefuse(() => compose([a, b], { weights: 'samples' }), EspalierError, "'b' does not say how many samples");
    await toRefuse(() => add(compose([a, b], { weights: [0.3, 0.7] }), { ...b, id: 'c' }), EspalierError, 'weights of its own');
  });

  it('components trained beside what moved', async () => {
    const adapted = adapt(one, [scaler(), tangent({ beside: 'trainable' })]);
    await toRefuse(() => componentOf(adapted, { id: 'x' }), EspalierError, "beside: 'trainable'", 'composes with nothing');
    await toRefuse(() => componentOf(adapted, { id: 'x', instance: 'tangnet' }), EspalierError, "no tangent 'tangnet' here. Did you mean 'tangent'?");
    adapted.dispose();
  });

  it('files that are no component, or whose header and tensors disagree', async () => {
    const bytes = writeComponent(a);
    const change = (f: (text: string) => string) => {
      const length = Number(new DataView(bytes.buffer).getBigUint64(0, true));
      const head = new TextDecoder().decode(bytes.subarray(8, 8 + length));
      const next = f(head);
      if (next.length !== head.length) throw new Error('the header must keep its length');
      const copy = bytes.slice();
      copy.set(new TextEncoder().encode(next), 8);
      return copy;
    };
    await toRefuse(() => readComponent(change((h) => h.replace('"component"', '"componemt"')), 'x.safetensors'), CheckpointError, 'x.safetensors is no tangent component');
    await toRefuse(() => readComponent(change((h) => h.replace('\\"format\\":1', '\\"format\\":7')), 'x.safetensors'), CheckpointError, 'x.safetensors: format');
    await toRefuse(() => readComponent(change((h) => h.replace(a.identity.selection, a.identity.base)), 'x.safetensors'), CheckpointError, 'its tensors are not those of its selection');
    await toRefuse(() => setTangents(adapt(one, [tangent({ lastK: 1 })]), new Map([['no', { shape: [1], data: new Float32Array(1) }]])), CheckpointError, "no tangent 'no'");
  });
});

describe('a trace of the frozen model', () => {
  it.each(Object.entries(models))('gives the same outputs and gradients, on %s, with the products of tangents alone', async (_, model) => {
    const adapted = adapt(model, [tangent()]);
    jitter(adapted);
    const plain = await adapted.learn(inputs, tinyLoss);
    await toLeakNothing(async () => {
      const trace = await adapted.trace(inputs);
      expect(trace.size).toBeGreaterThan(50);
      const traced = await adapted.learn(inputs, tinyLoss, { trace });
      toBeBitEqual(traced.output.dataSync(), plain.output.dataSync(), 'output');
      for (const [path, g] of plain.gradients) toBeAllClose(traced.gradients.get(path)!, g, { relative: 1e-6 }, path);
      traced.dispose();
      const [whole, rest] = [await adapted.account(inputs), await adapted.account(inputs, { trace })];
      const own = (rows: typeof whole) => rows.filter((r) => r.instance === 'tangent').reduce((n, r) => n + r.macs, 0);
      expect(own(rest)).toBe(own(whole));
      expect(rest.filter((r) => r.instance === '').reduce((n, r) => n + r.macs, 0)).toBe(0);
      trace.dispose();
    });
    plain.dispose();
    adapted.dispose();
  });

  it('is refused for another batch or other plugins', async () => {
    const adapted = adapt(one, [tangent({ lastK: 1 })]);
    const trace = await adapted.trace(inputs);
    const more = adapt(one, [scaler({}, { trainable: false }), adapter({}, { trainable: false })]);
    await toRefuse(() => more.forward(inputs, { trace }), Error, 'its trace');
    trace.dispose();
    adapted.dispose();
    more.dispose();
  });
});
