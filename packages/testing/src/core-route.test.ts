import * as tf from '@tensorflow/tfjs';
import { adapt, add, around, blend, group, normal, Plan, route, scale, startStep, weight, type Branch, type Run, type Streams, type Variant } from '@espalier/core';
import { beforeAll, describe, expect, it } from 'vitest';
import { useCpu } from './backend.ts';
import { outputOf } from './check-output.ts';
import { inline } from './inline.ts';
import { disposeInputs, tinyInputs } from './inputs.ts';
import { toLeakNothing } from './matchers.ts';
import { tinyOneStream } from './tiny.ts';

beforeAll(useCpu);

describe('routes', () => {
  const streams = (batch: number): Streams => ({
    x: { hidden: tf.range(1, 1 + batch * 6).reshape([batch, 3, 2]), mask: tf.range(0, batch * 3).reshape([batch, 1, 1, 3]), residual: tf.range(0, batch * 6).reshape([batch, 3, 2]).square() },
    y: { hidden: tf.range(100, 100 + batch * 2).reshape([batch, 1, 2]), mask: tf.zeros([batch, 1, 1, 1]) },
  });
  const plan = new Plan([]);
  const stepOf = (batch: number) => startStep(plan, undefined, batch);
  const change = (by: number) => (s: Streams): Streams => ({ ...s, x: { ...s['x']!, hidden: scale(s['x']!.hidden, by) } });
  const read = (s: Streams) => Object.fromEntries(Object.entries(s).map(([name, x]) => [name, [x.hidden, x.mask, ...(x.residual ? [x.residual] : [])].map((v) => (v instanceof tf.Tensor ? [...v.dataSync()] : v))]));

  it('grouped rows are blended rows under hard gates, masks in order', () => {
    for (let pattern = 0; pattern < 16; pattern++)
      tf.tidy(() => {
        const chosen = [0, 1, 2, 3].map((i) => Boolean(pattern & (1 << i)));
        const gate = tf.tensor2d(chosen.map((c) => [c ? 1 : 0]));
        const [grouped, blended] = [group(stepOf(4), chosen, streams(4), change(2), change(-1)), blend(gate, streams(4), change(2), change(-1))];
        expect(read(grouped)).toEqual(read(blended));
        expect(grouped['x']!.mask.dataSync()).toEqual(streams(4)['x']!.mask.dataSync());
      });
  });

  it('grouped rows keep the masks that their branch made', () => {
    tf.tidy(() => {
      const lengthen = (s: Streams): Streams => ({ ...s, x: { ...s['x']!, mask: tf.sub(s['x']!.mask, 1000) } });
      const out = group(stepOf(3), [false, true, true], streams(3), lengthen, (s) => s);
      expect([...out['x']!.mask.dataSync()]).toEqual([0, 1, 2, -997, -996, -995, -994, -993, -992]);
    });
  });

  it('a gate gets the gradient of the difference of the branches', () => {
    tf.tidy(() => {
      const sum = (g: tf.Tensor) => tf.sum(blend(g as tf.Tensor2D, streams(2), change(2), change(-1))['x']!.hidden as tf.Tensor) as tf.Scalar;
      const hidden = streams(2)['x']!.hidden as tf.Tensor;
      expect([...tf.grad(sum)(tf.tensor2d([[0.25], [0.75]])).dataSync()]).toEqual([...tf.sum(tf.mul(hidden, 3), [1, 2]).dataSync()]);
    });
  });

  it('a gate of several shares acts on each share of the last axis', () => {
    tf.tidy(() => {
      const [on, off] = [change(2), change(-1)];
      const out = blend(tf.tensor2d([[1, 0], [0.5, 0]]), streams(2), on, off)['x']!.hidden as tf.Tensor;
      const x = streams(2)['x']!.hidden as tf.Tensor;
      expect(out.arraySync()).toEqual(tf.mul(x, tf.tensor3d([2, -1, 0.5, -1], [2, 1, 2])).arraySync());
    });
  });

  it('blend while training and group otherwise', () =>
    toLeakNothing(async () => {
      const [model, inputs] = [tinyOneStream(), tinyInputs()];
      const sizes: number[] = [];
      const branch = (sign: number, run: Run, variant: Variant): Branch => (x, rows) => {
        sizes.push(sign * x['joint']!.hidden.shape[0]!);
        return run(x, { variant, ...(rows && { rows }) });
      };
      const router = inline('router', (host) => [
        around(host.stages({ role: 'block' })[0]!, 'route', (run, s, step) =>
          route(step, tf.tensor2d([[1], [0], [1]]), [true, false, true], s, branch(1, run, 'adapted'), branch(-1, run, 'pretrained')),
        ),
      ]);
      const update = inline('update', (host) =>
        host.linears({ role: 'ffn.up' }).map((w) => {
          const a = host.variable(w.path, [w.in, w.out], normal(0.4));
          return weight(w, (p, step) => ({ ...p, kernel: add(p.kernel, step.read(a)) }));
        }),
      );
      const adapted = adapt(model, [router, update]);
      const trained = await outputOf(adapted, inputs, { training: true });
      expect(sizes.splice(0)).toEqual([3, -3]);
      expect(await outputOf(adapted, inputs)).not.toEqual(trained); // dropout
      expect(sizes.splice(0)).toEqual([2, -1]);
      adapted.dispose();
      model.dispose();
      disposeInputs(inputs);
    }));
});
