import * as tf from '@tensorflow/tfjs';
import { adapt, evaluate, matMul, normal, readings, readout, reshape, scale, value, type Host } from '@espalier/core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { useCpu } from './backend.ts';
import { inline } from './inline.ts';
import { disposeInputs, tinyInputs } from './inputs.ts';
import { tinyTwoStream } from './tiny.ts';

beforeAll(useCpu);

describe('readings', () => {
  const model = tinyTwoStream();
  const inputs = tinyInputs();
  afterAll(() => {
    model.dispose();
    disposeInputs(inputs);
  });

  /** Doubles what leaves the first block of the text and reads two scores of every token there, by a variable of its own. */
  const reader = inline('reader', (host: Host) => {
    const [site] = host.sites({ role: 'block.output', stream: 'text' });
    const width = host.linears({ role: 'attention.query', stream: 'text' })[0]!.in;
    const c = host.variable('c', [width, 2], normal(1));
    return [
      value(site!, (x) => scale(x, 2)),
      readout(site!, ['first', 'second'], (x, step) => reshape(matMul(reshape(x, [-1, width]), step.read(c)), [x.shape[0]!, x.shape[1]!, 2])),
    ];
  });

  it('are scores of tokens under each variant, of the value as the hooks leave it', async () => {
    const adapted = adapt(model, [reader]);
    const before = tf.memory().numTensors;
    const found = await readings(adapted, inputs);
    expect(tf.memory().numTensors).toBe(before);
    expect(found.map(({ variant, instance, stream, labels }) => [variant, instance, stream, labels])).toEqual([
      ['adapted', 'reader', 'text', ['first', 'second']], ['pretrained', 'reader', 'text', ['first', 'second']],
    ]);
    const [after, pretrained] = found;
    let states: { shape: number[]; values: Float32Array } | undefined;
    const y = await adapted.forward(inputs, {
      variant: 'pretrained',
      observe: (site, x) => {
        if (site.path === after!.path) states = { shape: x.shape, values: evaluate(x).dataSync<'float32'>() };
      },
    });
    const [batch, tokens, width] = states!.shape as [number, number, number];
    const c = adapted.parameters.get('reader/c')!.variable.dataSync<'float32'>();
    expect(after!.shape).toEqual([batch, tokens, 2]);
    for (let t = 0; t < batch * tokens; t++)
      for (let m = 0; m < 2; m++) {
        const want = Array.from({ length: width }, (_, d) => states!.values[t * width + d]! * c[2 * d + m]!).reduce((a, b) => a + b, 0);
        expect(pretrained!.values[2 * t + m]).toBeCloseTo(want, 4);
        expect(after!.values[2 * t + m]).toBeCloseTo(2 * want, 4);
      }
    y.dispose();
    adapted.dispose();
  });

  it('do not run in a pass that nobody reads', async () => {
    let runs = 0;
    const counting = inline('counting', (host: Host) => [readout(host.sites({ role: 'block.output' })[0]!, ['n'], (x) => (runs++, x))]);
    const adapted = adapt(model, [counting]);
    (await adapted.forward(inputs)).dispose();
    expect(runs).toBe(0);
    expect(await readings(adapted, inputs, ['adapted'])).toHaveLength(1);
    expect(runs).toBe(1);
    expect(adapted.plan.hooks).toEqual([]);
    adapted.dispose();
  });
});
