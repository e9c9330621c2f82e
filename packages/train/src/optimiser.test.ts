import * as tf from '@tensorflow/tfjs';
import { adapt, CheckpointError, OptionsError, random, readSafetensors, writeSafetensors, type ParameterPoint } from '@espalier/core';
import { adapter, scaler, tinyOneStream, toBeAllClose, toBeBitEqual, toLeakNothing, toRefuse, useCpu, useOnnx } from '@espalier/testing';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { adam, adamW, bertAdam, sgd, vlBertAdamW, type Method } from './methods.ts';
import { optimiser } from './optimiser.ts';
import { biasesAndNorms } from './weight-decay.ts';

/** The variables of a tiny adapted model, started anew for every use. */
async function using<R>(f: (points: readonly ParameterPoint[]) => R | Promise<R>): Promise<R> {
  const model = tinyOneStream();
  const adapted = adapt(model, [adapter(), scaler()]);
  try {
    return await f(adapted.trainable);
  } finally {
    adapted.dispose();
    model.dispose();
  }
}

const gradient = (p: ParameterPoint, step: number) => {
  const generator = random('gradient', p.path, step);
  return Float32Array.from({ length: p.variable.size }, () => generator.normal());
};

/** Moves variables with drawn gradients; `left` names one that gets none. */
function moved(method: Method, points: readonly ParameterPoint[], steps: readonly number[], { rate = 0.01, left = '', own = optimiser(method, points) } = {}) {
  for (const step of steps) {
    const gradients = new Map(points.filter((p) => p.path !== left).map((p) => [p.path, tf.tensor(gradient(p, step), p.variable.shape)]));
    own.update(gradients, rate);
    tf.dispose([...gradients.values()]);
  }
  return own;
}

/** The update u of value <- value - rate u. */
type Rule = (t: number, g: number, x: number, s: number[], rate: number) => number;

/** The same updates in double precision, written as the papers do. */
function reference(start: Float32Array, p: ParameterPoint, steps: number, rate: number, rule: Rule): number[] {
  const x = Array.from(start);
  const state = x.map(() => [0, 0]);
  for (let t = 1; t <= steps; t++) gradient(p, t).forEach((g, i) => (x[i] = x[i]! - rate * rule(t, g, x[i]!, state[i]!, rate)));
  return x;
}

const adamRule = (t: number, g: number, s: number[], [b1, b2, eps]: readonly [number, number, number] = [0.9, 0.999, 1e-8]) => {
  s[0] = b1 * s[0]! + (1 - b1) * g;
  s[1] = b2 * s[1]! + (1 - b2) * g * g;
  return s[0] / (1 - b1 ** t) / (Math.sqrt(s[1] / (1 - b2 ** t)) + eps);
};

/** m and v of Adam, and m / (sqrt(v) + eps). */
const uncorrected = (g: number, s: number[], eps: number) => {
  s[0] = 0.9 * s[0]! + 0.1 * g;
  s[1] = 0.999 * s[1]! + 0.001 * g * g;
  return s[0] / (Math.sqrt(s[1]) + eps);
};
/** First the step by the whole rate, then the decay of what it gave. */
const vlBertRule = (t: number, g: number, x: number, s: number[], rate: number, eps: number, decay: number) => {
  const moved = x - rate * (Math.sqrt(1 - 0.999 ** t) / (1 - 0.9 ** t)) * uncorrected(g, s, eps);
  return (x - (moved - rate * decay * moved)) / rate;
};

const CASES: readonly [string, Method, Rule][] = [
  ['adam', adam(), (t, g, _x, s) => adamRule(t, g, s)],
  ['adam with its own constants', adam({ beta1: 0.8, beta2: 0.95, epsilon: 0.1 }), (t, g, _x, s) => adamRule(t, g, s, [0.8, 0.95, 0.1])],
  ['adamW', adamW({ weightDecay: 0.1 }), (t, g, x, s) => adamRule(t, g, s) + 0.1 * x],
  ['bertAdam', bertAdam(), (_t, g, x, s) => uncorrected(g, s, 1e-6) + 0.01 * x],
  ['bertAdam with its own constants', bertAdam({ epsilon: 0.1, weightDecay: 0.3 }), (_t, g, x, s) => uncorrected(g, s, 0.1) + 0.3 * x],
  ['vlBertAdamW', vlBertAdamW(), (t, g, x, s, rate) => vlBertRule(t, g, x, s, rate, 1e-6, 1e-4)],
  ['vlBertAdamW with its own constants', vlBertAdamW({ epsilon: 0.1, weightDecay: 2 }), (t, g, x, s, rate) => vlBertRule(t, g, x, s, rate, 0.1, 2)],
  ['sgd', sgd(), (_t, g) => g],
  ['sgd with momentum and a penalty', sgd({ momentum: 0.9, weightDecay: 0.1 }), (_t, g, x, s) => (s[0] = 0.9 * s[0]! + g + 0.1 * x)],
];

describe.each([['cpu', useCpu], ['onnx', useOnnx]] as const)('on %s', (_backend, use) => {
  beforeAll(use);
  afterAll(useCpu);

  it.each(CASES)('%s follows its paper', async (_name, method, rule) => {
    await using((points) => {
      const start = points.map((p) => p.variable.dataSync().slice());
      moved(method, points, [1, 2, 3, 4, 5]).dispose();
      points.forEach((p, i) => toBeAllClose(p.variable.dataSync(), reference(Float32Array.from(start[i]!), p, 5, 0.01, rule), { relative: 1e-5, absolute: 1e-6 }, p.path));
    });
  });

  it.each(CASES)('%s moves arrays on the host as its chain moves tensors', async (_name, method) => {
    const after = (one: Method) => using((points) => {
      moved(one, points, [1, 2, 3]).dispose();
      return points.map((p) => p.variable.dataSync<'float32'>().slice());
    });
    const [swept, chained] = [await after(method), await after({ name: method.name, chain: method.chain })];
    swept.forEach((values, i) => toBeAllClose(values, chained[i]!, { relative: 2e-6, absolute: 1e-7 }));
  });

  it('moves the first step of Adam by the rate against the sign of the gradient, however large that is', async () => {
    await using((points) => {
      const p = points[0]!;
      const before = p.variable.dataSync().slice();
      moved(adam(), [p], [1], { rate: 0.5 }).dispose();
      const expected = Float32Array.from(before, (x, i) => x - 0.5 * Math.sign(gradient(p, 1)[i]!));
      toBeAllClose(p.variable, tf.tensor(expected, p.variable.shape), { relative: 1e-5 });
    });
  });

  it.each([
    ['adamW', adamW], ['bertAdam', bertAdam], ['vlBertAdamW', vlBertAdamW],
  ])('%s exempts from decay what the predicate names', async (_name, method) => {
    await using((points) => {
      const gains = (p: ParameterPoint) => p.path.endsWith('.gain');
      expect(points.filter(gains).length).toBeGreaterThan(0);
      const start = new Map(points.map((p) => [p, p.variable.dataSync().slice()]));
      const own = optimiser(method({ weightDecay: 0.5, exempt: gains }), points);
      own.update(new Map(points.map((p) => [p.path, tf.zerosLike(p.variable)])), 0.1);
      for (const p of points) toBeAllClose(p.variable.dataSync(), Float32Array.from(start.get(p)!, (x) => (gains(p) ? x : x * 0.95)), {}, p.path);
      own.dispose();
    });
  });

  it('biasesAndNorms names biases, gains and offsets by their last word', async () => {
    await using(([p]) => {
      const named = (path: string) => biasesAndNorms({ ...p!, path });
      expect(['tune/joint.0.ffn.up.bias', 'tune/joint.0.ffn.norm.gamma', 'tune/head.norm.beta', 'offset/bias'].every(named)).toBe(true);
      expect(['tune/joint.0.ffn.up.kernel', 'lora/joint.0.attention.query.a', 'tune/embed.words.table'].some(named)).toBe(false);
    });
  });

  it('leaves a variable without a gradient alone: value, state and count', async () => {
    await using(async (points) => {
      const idle = points[1]!;
      const before = idle.variable.dataSync().slice();
      const own = moved(adamW({ weightDecay: 0.5 }), points, [1, 2, 3], { left: idle.path });
      toBeBitEqual(idle.variable.dataSync(), before);
      const state = await own.save();
      expect(state.get(`count/${idle.path}`)!.data[0]).toBe(0);
      expect(state.get(`count/${points[0]!.path}`)!.data[0]).toBe(3);
      expect(state.get(`0.adam.mean/${idle.path}`)!.data.every((x) => x === 0)).toBe(true);
      own.dispose();
    });
  });

  it.each([['adamW', adamW()], ['bertAdam', bertAdam()], ['vlBertAdamW', vlBertAdamW()], ['momentum', sgd({ momentum: 0.9 })]])('%s goes on from a saved state bit for bit', async (_name, method) => {
    const whole = await using((points) => {
      moved(method, points, [1, 2, 3, 4]).dispose();
      return points.map((p) => p.variable.dataSync().slice());
    });
    await using(async (points) => {
      const first = moved(method, points, [1, 2]);
      const file = writeSafetensors(await first.save());
      first.dispose();
      const second = optimiser(method, points);
      second.load(readSafetensors(file).tensors);
      moved(method, points, [3, 4], { own: second }).dispose();
      points.forEach((p, i) => toBeBitEqual(p.variable.dataSync(), whole[i]!, p.path));
    });
  });

  it('refuses a state that is not its own', async () => {
    await using(async (points) => {
      const own = optimiser(adamW(), points);
      const state = new Map(await own.save());
      const name = `0.adam.mean/${points[0]!.path}`;
      const found = state.get(name)!;
      await toRefuse(() => own.load(new Map([...state].filter(([key]) => key !== name)), 'x.safetensors'), CheckpointError, 'x.safetensors', name, 'missing');
      await toRefuse(() => own.load(new Map([...state, ['0.adam.mean/other', found]])), CheckpointError, '0.adam.mean/other', 'no variable');
      await toRefuse(() => own.load(new Map([...state, [name, { shape: [1], data: new Float32Array(1) }]])), CheckpointError, name, 'shape [1]');
      own.dispose();
    });
  });

  it('leaves no arrays behind', async () => {
    await using((points) => toLeakNothing(() => moved(adamW(), points, [1, 2, 3]).dispose()));
    await using(async (points) => {
      const own = moved(adamW(), points, [1]);
      await toLeakNothing(() => void moved(adamW(), points, [2, 3, 4], { own }));
      await toLeakNothing(async () => own.load(await own.save()));
      own.dispose();
    });
  });

  it('refuses options that it does not know or that make no sense', async () => {
    const misspelt: object = { weightdecay: 0.1 };
    await toRefuse(() => adamW(misspelt), OptionsError, 'adamW', "'weightdecay'", "'weightDecay'");
    await toRefuse(() => bertAdam(misspelt), OptionsError, 'bertAdam', "'weightDecay'");
    await toRefuse(() => vlBertAdamW({ epsilon: 0 }), OptionsError, 'vlBertAdamW', 'epsilon');
    await toRefuse(() => adam({ beta1: 1 }), OptionsError, 'beta1');
    await toRefuse(() => sgd({ momentum: -0.1 }), OptionsError, 'momentum');
  });
});
