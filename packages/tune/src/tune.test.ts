import * as tf from '@tensorflow/tfjs';
import { adapt, ConflictError, OptionsError, SelectionError } from '@espalier/core';
import { disposeInputs, PEERS, testPlugin, tinyInputs, tinyOneStream, tinyTwoStream, toRefuse, train, useCpu, type TinyModel } from '@espalier/testing';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { tune } from './tune.ts';

const models: TinyModel[] = [];
let one: TinyModel;
let two: TinyModel;
beforeAll(async () => {
  await useCpu();
  models.push((one = tinyOneStream()), (two = tinyTwoStream()));
});
afterAll(() => models.forEach((m) => m.dispose()));

const test = { describe, it };
const traits = { identityAtStart: true, weightsOnly: true, exactRows: true };
// Beside the peer that scales the very weights replaced here.
testPlugin(tune, traits, { test, options: { preset: 'bitfit' }, peers: PEERS.slice(0, 1) });
testPlugin(tune, traits, { test, options: { preset: 'all' }, peers: [] });
testPlugin(tune, { ...traits, identityAtStart: false }, { test, options: { preset: 'head', answers: 5 }, peers: [] });
testPlugin(tune, { ...traits, identityAtStart: false }, { test, options: { at: [{ role: 'embed.words' }, { block: [1, 2] }], reinit: true }, peers: [] });

/** Names of the variables that options give. */
function names(model: TinyModel, options: Parameters<typeof tune>[0]): string[] {
  const adapted = adapt(model, [tune(options)]);
  const found = [...adapted.parameters.keys()].map((name) => name.slice('tune/'.length));
  adapted.dispose();
  return found;
}

describe('presets', () => {
  const arrays = (model: TinyModel, keep: (path: string) => boolean) => [...model.tensors.keys()].filter(keep).sort();
  const isHead = (path: string) => /^head\.(up|norm|down)\./.test(path);

  it.each([tinyOneStream, tinyTwoStream])('choose what they say on %o', (make) => {
    const model = make();
    models.push(model);
    expect(names(model, { preset: 'head' }).sort()).toEqual(arrays(model, isHead));
    expect(names(model, { preset: 'all' }).sort()).toEqual(arrays(model, (p) => !isHead(p)));
    expect(names(model, { preset: 'bitfit' }).sort()).toEqual(arrays(model, (p) => /\.(bias|beta)$/.test(p) && !isHead(p)));
    expect(names(model, { preset: 'norms' }).sort()).toEqual(arrays(model, (p) => /\.(gamma|beta)$/.test(p) && !isHead(p)));
    expect(names(model, { preset: 'embeddings' }).sort()).toEqual(arrays(model, (p) => p.endsWith('.table')));
    expect(names(model, { preset: 'all', parts: ['kernel'] }).sort()).toEqual(arrays(model, (p) => p.endsWith('.kernel') && !isHead(p)));
  });

  it("'last' counts blocks in the order of the encoder", () => {
    expect(names(one, { preset: 'last', last: 1 }).every((n) => n.startsWith('joint.1.'))).toBe(true);
    expect(names(two, { preset: 'last', last: 2 }).sort()).toEqual([...two.tensors.keys()].filter((p) => /^cross\.\d/.test(p)).sort());
    expect(names(two, { preset: 'last', last: 3 }).sort()).toEqual([...two.tensors.keys()].filter((p) => /^(cross|vision)\.\d/.test(p)).sort());
    expect(() => names(one, { preset: 'last', last: 3 })).toThrow(/'last' is 3, this model has 2 blocks/);
  });

  it('at selections add up, each place once and in the order of the model', () => {
    const order = names(two, { at: [{ role: 'head.down' }, { role: 'attention.norm', stream: 'text' }, { path: 'text.0.attention.norm' }], parts: ['beta', 'bias'] });
    expect(order).toEqual(['head.down.bias', 'text.0.attention.norm.beta', 'cross.0.text.attention.norm.beta', 'cross.1.text.attention.norm.beta']);
  });
});

describe('a new answer layer', () => {
  it('has the width asked for and stays in force in variant pretrained', async () => {
    const inputs = tinyInputs();
    const adapted = adapt(one, [tune({ preset: 'head', answers: 7 })]);
    const [y, bare] = [await adapted.forward(inputs), await adapted.forward(inputs, { variant: 'pretrained' })];
    expect(y.shape).toEqual([3, 7]);
    expect(bare.dataSync()).toEqual(y.dataSync());
    expect(adapted.parameters.get('tune/head.up.kernel')!.variable.dataSync()).toEqual(one.tensors.get('head.up.kernel')!.dataSync());
    const losses = await train(adapted, inputs, 8, { rate: 0.3 });
    expect(losses.at(-1)).toBeLessThan(losses[0]! / 2);
    tf.dispose([y, bare]);
    disposeInputs(inputs);
    adapted.dispose();
  });

  it('leaves a body of its own out of variant pretrained', async () => {
    const inputs = tinyInputs();
    const body = adapt(one, [tune({ preset: 'all' }, { as: 'body' }), tune({ preset: 'head' }, { as: 'head' })]);
    await train(body, inputs, 2);
    const head = body.without('tune#body');
    const [a, b] = [await body.forward(inputs, { variant: 'pretrained' }), await head.forward(inputs)];
    expect(a.dataSync()).toEqual(b.dataSync());
    tf.dispose([a, b]);
    disposeInputs(inputs);
    body.dispose();
  });
});

describe('reinit', () => {
  it('draws from the seed: kernels within the Xavier bound, gains one, offsets zero, padding rows zero', () => {
    const drawn = (seed: number) => {
      const adapted = adapt(two, [tune({ preset: 'all', reinit: true })], { seed });
      const values = new Map([...adapted.parameters].map(([name, p]) => [name.slice(5), p.variable.dataSync<'float32'>().slice()]));
      adapted.dispose();
      return values;
    };
    const [a, b, again] = [drawn(1), drawn(2), drawn(1)];
    expect(again).toEqual(a);
    const kernel = a.get('text.0.ffn.up.kernel')!;
    expect(kernel).not.toEqual(b.get('text.0.ffn.up.kernel'));
    expect(Math.max(...kernel.map(Math.abs))).toBeLessThanOrEqual(Math.fround(Math.sqrt(6 / (16 + 32))));
    expect(Math.max(...kernel.map(Math.abs))).toBeGreaterThan(0.3);
    expect(new Set(a.get('text.0.ffn.norm.gamma'))).toEqual(new Set([1]));
    expect(new Set(a.get('text.0.ffn.up.bias'))).toEqual(new Set([0]));
    const words = a.get('text.embed.words.table')!;
    expect(new Set(words.slice(0, 16))).toEqual(new Set([0]));
    expect(words.slice(16).every((x) => x !== 0 && Math.abs(x) < 0.1)).toBe(true);
  });
});

describe('bad options', () => {
  it.each([
    [{}, 'nothing is chosen: give preset'],
    [{ preset: 'all', at: { role: 'pooler' } }, "both at and preset 'all'"],
    [{ preset: 'last' }, 'add last: 2'],
    [{ preset: 'all', last: 2 }, "add preset: 'last'"],
    [{ preset: 'all', answers: 3 }, "add preset: 'head'"],
    [{ preset: 'bitfit', parts: ['bias'] }, 'drop parts'],
    [{ preset: 'head', answers: 3, parts: ['kernel'] }, 'drop parts'],
    [{ presets: 'head' }, "Did you mean 'preset'?"],
    [{ at: { rol: 'pooler' } }, "no option 'at.rol'. Did you mean 'role'?"],
    [{ at: [{ role: 'pooler' }, { stream: 3 }] }, "option 'at.1.stream'"],
    [{ at: { block: [2, 2] } }, 'from < to'],
    [{ preset: 'heads' }, "option 'preset'"],
    [{ preset: 'all', parts: ['kernels'] }, "option 'parts.0'"],
  ])('%j is refused: %s', async (options, words) => {
    await toRefuse(() => tune.from(options), OptionsError, "'tune'", words);
  });

  it('selections that hold nothing are refused when attached', async () => {
    await toRefuse(() => names(one, { at: { role: 'pooler' }, parts: ['table'] }), SelectionError, 'has a table');
    await toRefuse(() => names(one, { at: { role: 'cross.query' } }), SelectionError, "'cross.query'");
    const twice = () => adapt(one, [tune({ preset: 'all' }, { as: 'a' }), tune({ at: { role: 'pooler' } }, { as: 'b' })]);
    await toRefuse(twice, ConflictError, "'tune#a'", "'tune#b'", 'head.pooler');
  });
});
