import * as tf from '@tensorflow/tfjs';
import { adapt } from '@espalier/core';
import { beforeAll, describe, expect, it } from 'vitest';
import { useCpu } from './backend.ts';
import { disposeInputs, padInputs, takeInputs, tinyInputs } from './inputs.ts';
import { toBeAllClose, toBeBitEqual, toDiffer, toLeakNothing, toRefuse } from './matchers.ts';
import { tinyOneStream, tinyTwoStream } from './tiny.ts';

beforeAll(useCpu);

describe.each([['one stream', tinyOneStream], ['two streams', tinyTwoStream]] as const)('the tiny model with %s', (_, make) => {
  it('gives logits that are its own for every sample, seed and number of answers', () =>
    toLeakNothing(async () => {
      const inputs = tinyInputs();
      const logits = async (options: Parameters<typeof make>[0]) => {
        const model = make(options);
        const y = await adapt(model, []).forward(inputs);
        const [shape, values] = [y.shape, y.arraySync() as number[][]];
        y.dispose();
        model.dispose();
        return { shape, values };
      };
      const [first, again, other] = [await logits({}), await logits({}), await logits({ seed: 1 })];
      expect(first.shape).toEqual([3, 3]);
      expect((await logits({ answers: 7 })).shape).toEqual([3, 7]);
      expect(again).toEqual(first);
      expect(other).not.toEqual(first);
      toDiffer(first.values[0]!, first.values[1]!, 0.01);
      disposeInputs(inputs);
    }));

  it('drops while training, by sample and step', () =>
    toLeakNothing(async () => {
      const inputs = tinyInputs();
      const run = async (dropout: number, options: { training: boolean; step?: number }) => {
        const model = make({ dropout });
        const y = await adapt(model, []).forward(inputs, options);
        const values = y.dataSync().slice();
        y.dispose();
        model.dispose();
        return values;
      };
      const plain = await run(0.1, { training: false });
      expect(await run(0.5, { training: false })).toEqual(plain);
      expect(await run(0, { training: true })).toEqual(plain);
      const dropped = await run(0.1, { training: true });
      expect(dropped).not.toEqual(plain);
      expect(await run(0.1, { training: true })).toEqual(dropped);
      expect(await run(0.1, { training: true, step: 1 })).not.toEqual(dropped);
      disposeInputs(inputs);
    }));
});

it('together the two models have every role there is', () => {
  const models = [tinyOneStream(), tinyTwoStream()];
  const roles = (kind: 'linear' | 'norm' | 'embedding' | 'site' | 'stage') => [...new Set(models.flatMap((m) => m.scope.points[kind].map((p): string => p.role)))].sort();
  const both = (...parts: string[]) => ['attention', 'cross'].flatMap((kind) => parts.map((part) => `${kind}.${part}`));
  const linears = [...both('query', 'key', 'value', 'output'), 'ffn.up', 'ffn.down', 'embed.vision', 'embed.boxes', 'pooler', 'head.up', 'head.down'];
  expect(roles('linear')).toEqual([...linears].sort());
  expect(roles('norm')).toEqual([...both('norm'), 'ffn.norm', 'embed.norm', 'head.norm', 'embed.vision.norm', 'embed.boxes.norm'].sort());
  expect(roles('embedding')).toEqual(['words', 'positions', 'segments', 'regions', 'end'].map((x) => `embed.${x}`).sort());
  expect(roles('site')).toEqual([...linears.flatMap((x) => [x, `${x}.input`]), ...both('scores', 'probabilities', 'context'), 'ffn.hidden', 'block.output', 'embed.output', 'pooled', 'logits'].sort());
  expect(roles('stage')).toEqual([...both('heads', 'project'), 'attention', 'cross', 'ffn', 'ffn.expand', 'ffn.contract', 'block', 'encoder'].sort());
  for (const model of models) {
    for (const [path, t] of model.tensors) expect(new Set(t.dataSync()).size, `${path} is not all the same`).toBeGreaterThan(1);
    expect(model.scope.points.stage.filter((s) => s.role === 'block').map((s) => s.block)).toEqual(model.name === 'tiny-one-stream' ? [0, 1] : [0, 1, 2, 3]);
    model.dispose();
  }
});

it('inputs: a sample depends on its place alone, rows can be taken and padding added', () => {
  const all = tinyInputs({ lengths: [[5, 3], [2, 1]] });
  const one = tinyInputs({ lengths: [[5, 3]] });
  const [taken, padded, wide] = [takeInputs(all, [0]), padInputs(all, 2, 1), tinyInputs({ lengths: [[5, 3], [2, 1]], padded: [7, 4] })];
  expect(taken.features.arraySync()).toEqual(one.features.arraySync());
  expect(taken.ids.arraySync()).toEqual(one.ids.arraySync());
  expect(padded.ids.arraySync()).toEqual(wide.ids.arraySync());
  expect(padded.boxes.arraySync()).toEqual(wide.boxes.arraySync());
  expect([...padded.textMask.sum(1).dataSync()]).toEqual([5, 2]);
  expect([...padded.visionMask.sum(1).dataSync()]).toEqual([3, 1]);
  for (const x of [all, one, taken, padded, wide]) disposeInputs(x);
});

describe('matchers', () => {
  it('pass what is close and say where it is not', () => {
    toBeAllClose([1, 2], [1, 2 + 1e-6]);
    toBeAllClose([100, 1e-4], [100, 0], { relative: 1e-5 });
    toBeAllClose([NaN], [NaN]);
    expect(() => toBeAllClose([1, 2, 3], [1, 2.5, 3], {}, 'logits')).toThrow('logits: entry 1 is 2, expected 2.5: off by 5.00e-1');
    expect(() => toBeAllClose([NaN], [1])).toThrow('entry 0 is NaN');
    expect(() => toBeAllClose([1], [NaN])).toThrow('expected NaN');
    expect(() => toBeAllClose([1], [1, 2])).toThrow('shape [1], expected [2]');
    expect(() => toBeBitEqual([0], [-0])).toThrow('entry 0 is 0, expected exactly 0');
    expect(() => toBeBitEqual([1], [1 + 1e-12])).toThrow('expected exactly');
    expect(() => toDiffer([1, 2], [1, 2])).toThrow('expected to differ');
    expect(() => toDiffer([1], [1.01], 0.1)).toThrow('the same within 0.1');
  });

  it('count tensors and read errors', async () => {
    const left: tf.Tensor[] = [];
    await expect(toLeakNothing(() => left.push(tf.scalar(1)), 'it')).rejects.toThrow('it leaves 1 tensors behind');
    await expect(toLeakNothing(() => tf.dispose(left))).rejects.toThrow('leaves -1 tensors fewer than there were');
    expect(await toRefuse(() => { throw new RangeError('too far'); }, RangeError, 'far')).toBe('too far');
    await expect(toRefuse(() => 1, Error)).rejects.toThrow('nothing was thrown');
    await expect(toRefuse(() => { throw new TypeError('x'); }, RangeError)).rejects.toThrow('expected RangeError');
    await expect(toRefuse(() => { throw new RangeError('x'); }, RangeError, 'y')).rejects.toThrow("does not mention 'y'");
  });
});
