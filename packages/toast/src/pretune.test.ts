import * as tf from '@tensorflow/tfjs';
import { adapt, EspalierError, finish, primal, startStep, type Adapted } from '@espalier/core';
import { disposeInputs, padInputs, tinyInputs, tinyModels, toBeAllClose, toBeBitEqual, toLeakNothing, toRefuse, train, type TinyInputs } from '@espalier/testing';
import { afterAll, describe, expect, it } from 'vitest';
import { pretune } from './pretune.ts';
import { reconstructionOf, seenIn } from './reconstruction.ts';
import { solveRidge } from './solve.ts';
import { toast } from './toast.ts';

const { one, two } = await tinyModels(afterAll);
const many = [0, 1, 2, 3].map((seed) => tinyInputs({ seed }));
afterAll(() => many.forEach(disposeInputs));

async function* all(batches: readonly TinyInputs[] = many): AsyncGenerator<TinyInputs> {
  for (const batch of batches) yield await Promise.resolve(batch);
}
const valuesOf = (adapted: Adapted<TinyInputs>, name: string) => adapted.parameters.get(`toast/${name}`)!.variable.dataSync<'float32'>();

/** Outputs and inputs of a block for every token that is there, row by row: [n, 16] each. */
async function statesOf(adapted: Adapted<TinyInputs>, stream: string, upper: string, lower: string): Promise<{ h: tf.Tensor2D; y: tf.Tensor2D }> {
  const parts: { h: tf.Tensor2D; y: tf.Tensor2D }[] = [];
  for (const inputs of many) {
    const seen = new Map<string, tf.Tensor>();
    const step = startStep(adapted.plan, inputs, 3, { variant: 'pretrained', observe: (site, x) => seen.set(site.path, tf.keep(primal(x).clone())) });
    const mask = seenIn(two.encode!(inputs, step)[stream]!.mask);
    const rows = [...mask.dataSync()].flatMap((m, i) => (m ? [i] : []));
    const taken = (path: string): tf.Tensor2D => tf.gather(tf.reshape(seen.get(path)!, [-1, 16]) as tf.Tensor2D, rows);
    parts.push({ h: taken(upper), y: taken(lower) });
    finish(step);
  }
  return { h: tf.concat(parts.map((p) => p.h)), y: tf.concat(parts.map((p) => p.y)) };
}

describe('pre-tuning in closed form', () => {
  it('is least squares: the ridge loss has no slope where A is, and R2 is the share that is explained', async () => {
    const adapted = adapt(two, [toast({ to: 0 })]);
    const found = await pretune(adapted, all(), { lambda: 0.01 });
    expect(found.map(({ stream, block }) => `${stream} ${block}`)).toEqual(['text text.0', 'text cross.0', 'text cross.1', 'vision vision.0', 'vision cross.0', 'vision cross.1']);
    for (const [stream, block, upper, lower] of [['text', 'cross.0', 'cross.0.text.output', 'text.0.output'], ['vision', 'vision.0', 'vision.0.output', 'vision.embed.output']] as const) {
      const { h, y } = await statesOf(adapted, stream, upper, lower);
      const name = block.startsWith(stream) ? block : `${stream}.${block}`;
      const a = tf.tensor2d(valuesOf(adapted, `${name}.a`).slice(), [16, 16]);
      const error = tf.sub(tf.matMul(h, a), y);
      const slope = tf.add(tf.div(tf.matMul(h, error as tf.Tensor2D, true), h.shape[0]), tf.mul(a, 0.01));
      expect(Math.max(...slope.dataSync().map(Math.abs))).toBeLessThan(1e-5);
      const explained = 1 - tf.sum(tf.square(error)).dataSync()[0]! / tf.sum(tf.square(tf.sub(y, tf.mean(y, 0)))).dataSync()[0]!;
      const own = found.find((f) => f.stream === stream && f.block === block)!;
      expect(own.r2).toBeCloseTo(explained, 5);
      expect(own.r2).toBeGreaterThan(0.3);
      expect(own.tokens).toBe(h.shape[0]);
    }
  });

  it('changes no output, lowers the reconstruction loss, and starts B at beta', async () => {
    const adapted = adapt(one, [toast({ reconstruction: 1 })]);
    const lossOf = async () => {
      const learned = await adapted.learn(many[0]!, (y) => tf.sum(y));
      const loss = learned.losses.get('toast reconstruction')!.dataSync()[0]!;
      learned.dispose();
      return loss;
    };
    const before = await lossOf();
    await pretune(adapted, all());
    toBeBitEqual(await adapted.forward(many[0]!), await adapted.forward(many[0]!, { variant: 'pretrained' }), 'output');
    expect(await lossOf()).toBeLessThan(0.8 * before);
    await pretune(adapted, all(), { beta: 0.1 });
    toBeAllClose(valuesOf(adapted, 'joint.1.b'), tf.mul(tf.eye(16), 0.1).dataSync(), {}, 'B');
  });

  it('takes no notice of padding and leaves no array behind', async () => {
    const padded = many.map((x) => padInputs(x, 3, 2));
    const [a, b] = [adapt(one, [toast()]), adapt(one, [toast()])];
    await toLeakNothing(async () => void (await pretune(a, all())));
    await pretune(b, all(padded));
    toBeAllClose(valuesOf(b, 'joint.0.a'), valuesOf(a, 'joint.0.a'), { relative: 1e-3 }, 'A from padded batches');
    padded.forEach(disposeInputs);
  });

  it('sets the frozen bases that Lite learns beside', async () => {
    const adapted = adapt(one, [toast({ feedback: 'lite', bases: true })]);
    await pretune(adapted, all());
    const base = valuesOf(adapted, 'joint.0.a').slice();
    await train(adapted, many[0]!, 3);
    toBeBitEqual(valuesOf(adapted, 'joint.0.a'), base, 'the base after training');
    expect(valuesOf(adapted, 'joint.0.b.up').some((v) => v !== 0)).toBe(true);
  });

  it('refuses what has nothing to set', async () => {
    await toRefuse(() => pretune(adapt(one, [toast({ feedback: 'lite' })]), all()), EspalierError, 'bases: true');
    await toRefuse(() => pretune(adapt(one, [toast({}, { as: 'a' })]), all()), EspalierError, "no toast 'toast'", 'toast#a');
    await toRefuse(() => pretune(adapt(one, [toast()]), all([])), EspalierError, 'empty');
  });
});

describe('the reconstruction loss', () => {
  it('trains A down the slope of least squares', async () => {
    const adapted = adapt(one, [toast({ reconstruction: 0.1 })]);
    const losses = await train(adapted, many[0]!, 30, { rate: 0.5 });
    expect(losses.at(-1)!).toBeLessThan(losses[0]!);
    const step = startStep(adapted.plan, many[0]!, 3);
    const x = tf.ones([1, 2, 16]);
    const seen = tf.tensor2d([[1, 0]]);
    const half = reconstructionOf((rows) => rows, tf.mul(x, tf.tensor3d([[[3], [50]]])), x, seen, step);
    expect(primal(half).dataSync()[0]).toBeCloseTo(4, 6); // (3 - 1)^2 of the one token that is there
    finish(step);
  });
});

describe('Cholesky', () => {
  it('solves, and says when it cannot', () => {
    const [g, x] = [Float64Array.from([4, 2, 2, 5]), Float64Array.from([1, -2, 3, 0.5])];
    const c = Float64Array.from([4 * 1 + 2 * 3, 4 * -2 + 2 * 0.5, 2 * 1 + 5 * 3, 2 * -2 + 5 * 0.5]);
    toBeAllClose(Float32Array.from(solveRidge(g, c, 2, 0)), Float32Array.from(x), {}, 'solution');
    expect(() => solveRidge(Float64Array.from([1, 1, 1, 1]), c, 2, 0)).toThrow(/larger lambda/);
  });
});
