import * as tf from '@tensorflow/tfjs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { capture } from '../capture.ts';
import type { OnnxBackend } from '../backend.ts';
import { registerOnnx } from '../register.ts';
import { distance, opCases, runCase, tensorsOf, type OpCase } from './op-cases.ts';

interface Result {
  readonly shape: number[];
  readonly dtype: string;
  readonly values: ArrayLike<number>;
}
const read = (ts: tf.Tensor[]): Result[] => ts.map((t) => ({ shape: t.shape, dtype: t.dtype, values: t.dataSync<'float32'>() }));

const backends: Record<string, OnnxBackend> = {};
let before: string;
beforeAll(async () => {
  before = tf.getBackend();
  for (const mode of ['lazy', 'eager'] as const) backends[mode] = registerOnnx({ name: `onnx-ops-${mode}`, mode, threads: 1 });
});
afterAll(async () => {
  await tf.setBackend(before || 'cpu');
  for (const mode of ['lazy', 'eager']) tf.removeBackend(`onnx-ops-${mode}`);
});

async function expected(c: OpCase): Promise<Result[]> {
  await tf.setBackend('cpu');
  const out = runCase(c);
  const found = read(out);
  tf.dispose(out);
  if (!c.truth) return found;
  return [{ ...found[0]!, values: Float64Array.from(c.inputs[0]!.values, (x) => c.truth!(Math.fround(x))) }];
}

function compare(found: Result[], wanted: Result[]): void {
  expect(found.map(({ shape, dtype }) => ({ shape, dtype }))).toEqual(wanted.map(({ shape, dtype }) => ({ shape, dtype })));
  wanted.forEach((w, i) => {
    const exact = w.dtype !== 'float32';
    const d = distance(found[i]!.values, w.values);
    expect(d, `${Array.from(found[i]!.values).join()} instead of ${Array.from(w.values).join()}`).toBeLessThanOrEqual(exact ? 0 : 1e-6);
  });
}

it('has at least 110 cases, each under a name of its own', () => {
  expect(new Set(opCases.map((c) => c.name)).size).toBe(opCases.length);
  expect(opCases.length).toBeGreaterThanOrEqual(110);
});

describe.each(['lazy', 'eager'])('%s mode computes what cpu does', (mode) => {
  it.each(opCases)('$name', async (c) => {
    const wanted = await expected(c);
    await tf.setBackend(`onnx-ops-${mode}`);
    const tensors = tf.memory().numTensors;
    const out = runCase(c);
    compare(read(out), wanted);
    tf.dispose(out);
    expect(tf.memory().numTensors).toBe(tensors);
  });
});

describe('a captured step computes what cpu does', () => {
  it.each(opCases)('$name', async (c) => {
    const wanted = await expected(c);
    await tf.setBackend('onnx-ops-lazy');
    const refused: string[] = [];
    // Adding 0 makes a result of every output, also of one that is a view of an argument.
    const step = capture(backends['lazy']!, (xs) => [c.f(...xs)].flat(), { onRefused: (e) => refused.push(e.message) });
    for (let call = 0; call < 4; call++) {
      const args = tensorsOf(c.inputs);
      const out = step.call(args);
      compare(read(out), wanted);
      tf.dispose([args, out]);
    }
    // Replayed, or refused for a reason that holds: something ran on the host, or nothing was computed at all.
    if (refused.length) expect(refused[0]).toMatch(/runs on the host|is not computed in the step/);
    else expect(step.last).toBe('replayed');
    step.dispose();
  });
});
