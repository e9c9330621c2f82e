import * as tf from '@tensorflow/tfjs';
import { expect, it } from 'vitest';
import { OnnxBackendError } from './errors.ts';
import { emitters } from './kernels/table.ts';
import { registerOnnx } from './register.ts';
import { withBackend } from './testing/backend.ts';

it('registers every kernel of the cpu backend, and emits none that cpu does not have', () =>
  withBackend({}, () => {
    const names = (backend: string) => tf.getKernelsForBackend(backend).map((k) => k.kernelName).sort();
    const own = ['TakeSamples', 'PutSamples', 'JoinSamples', 'PartOfSamples']; // which cpu does not need
    expect(names(tf.getBackend())).toEqual([...names('cpu'), ...own].sort());
    expect(Object.keys(emitters).filter((k) => !names('cpu').includes(k))).toEqual([]);
    expect(Object.keys(emitters).length).toBeGreaterThan(80);
  }));

it('computes nothing before a value is asked for, and nothing that nobody holds', () =>
  withBackend({}, (backend) => {
    const a = tf.tensor1d([1, 2]);
    const kept = tf.tidy(() => {
      tf.exp(a); // dead
      return tf.mul(tf.add(a, 1), 2);
    });
    expect(backend.statistics()).toMatchObject({ flushes: 0, operations: 3, pending: 3 });
    expect([...kept.dataSync()]).toEqual([4, 6]);
    expect(backend.statistics()).toMatchObject({ flushes: 1, compiled: 1, pending: 0 });
    kept.dataSync();
    expect(backend.statistics().flushes).toBe(1);
  }));

it('compiles a structure once, whatever the numbers', () =>
  withBackend({}, (backend) => {
    for (let i = 0; i < 5; i++) expect(tf.tidy(() => tf.add(tf.mul(tf.tensor1d([i, 1]), 3), i).dataSync()[0])).toBe(4 * i);
    expect(backend.statistics()).toMatchObject({ flushes: 5, compiled: 1, cached: 1 });
    tf.tidy(() => tf.add(tf.mul(tf.tensor1d([1, 1, 1]), 3), 1).dataSync());
    expect(backend.statistics()).toMatchObject({ compiled: 2, cached: 2 });
  }));

it('keeps no more compiled graphs than it is told to', () =>
  withBackend({ cacheLimit: 2 }, (backend) => {
    const use = (size: number) => tf.tidy(() => tf.mul(tf.ones([size]), tf.ones([size])).dataSync());
    for (const size of [1, 2, 1, 3, 1]) use(size); // 2 is the least recently used when 3 comes
    expect(backend.statistics()).toMatchObject({ compiled: 3, cached: 2 });
    use(2);
    expect(backend.statistics()).toMatchObject({ compiled: 4, cached: 2 });
  }));

it('runs every operation at once in eager mode', () =>
  withBackend({ mode: 'eager' }, (backend) => {
    const y = tf.tidy(() => tf.mul(tf.add(tf.tensor1d([1]), 1), 2));
    expect(backend.statistics()).toMatchObject({ flushes: 2, pending: 0 });
    expect(y.dataSync()[0]).toBe(4);
  }));

it.each(['once', 'twice'])('keeps a product, computed %s, that goes on with a bias and with another product', (how) =>
  withBackend({}, () => {
    const shapes = [[6, 4], [4, 4], [4], [4, 2], [2, 4], [6, 4]];
    const drawn = shapes.map((shape, i) => tf.tensor(Float32Array.from({ length: shape.reduce((m, n) => m * n, 1) }, (_, k) => Math.sin(i + k)), shape));
    const [x, w, bias, a, b, residual] = drawn as [tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor];
    const [plain, tailed] = tf.tidy(() => {
      const y = tf.matMul(x, w);
      const product = tf.matMul(tf.matMul(x, a), b);
      return [tf.add(tf.add(y, bias), residual), tf.add(tf.add(tf.add(how === 'once' ? y : tf.matMul(x, w), product), bias), residual)];
    }) as [tf.Tensor, tf.Tensor];
    plain.dataSync(); // both in one graph
    const difference = tf.sub(tailed, plain).dataSync();
    tf.matMul(tf.matMul(x, a), b).dataSync().forEach((z, i) => expect(difference[i]).toBeCloseTo(z, 5));
  }));

it('values from outside are taken as they are when they are given', () =>
  withBackend({}, () => {
    const buffer = Float32Array.of(1, 2);
    const y = tf.mul(tf.tensor1d(buffer), 2);
    buffer.fill(100);
    expect([...y.dataSync()]).toEqual([2, 4]);
    y.dataSync().fill(7);
    expect([...y.dataSync()]).toEqual([2, 4]);
  }));

it('a variable is changed in place, and nothing else sees it', () =>
  withBackend({}, (backend) => {
    const v = tf.variable(tf.tensor1d([1, 2]));
    const waiting = tf.mul(v, 10); // not run yet
    backend.writable(v)[0] = 5;
    const clone = v.clone();
    backend.writable(v)[0] = 6;
    expect([...waiting.dataSync(), ...clone.dataSync(), ...v.dataSync()]).toEqual([10, 20, 5, 2, 6, 2]);
    expect(() => backend.writable(clone.clone())).toThrow(/other tensors share it/);
    expect(() => backend.writable(tf.tensor1d([1], 'int32'))).toThrow(/int32 .* has no floats/);
    expect(() => backend.values(tf.tensor1d(['a']))).toThrow(OnnxBackendError);
    tf.dispose([v, clone, waiting]);
  }));

it('holds as many arrays as before when tensors are disposed', () =>
  withBackend({}, (backend) => {
    const before = backend.numDataIds();
    const x = tf.tensor2d([[1, 2], [3, 4]]);
    const y = tf.tidy(() => tf.matMul(tf.reshape(tf.transpose(x), [2, 2]), x));
    tf.dispose(x); // still needed
    expect([...y.dataSync()]).toEqual([10, 14, 14, 20]);
    tf.dispose(y);
    expect(backend.numDataIds()).toBe(before);
  }));

it('takes tensors over from another backend', async () => {
  await tf.setBackend('cpu');
  const [x, flags, words] = [tf.tensor1d([1, 2]), tf.tensor1d([true, false], 'bool'), tf.tensor1d(['a', 'b'])];
  await withBackend({}, () => {
    expect([...tf.mul(x, 2).dataSync()]).toEqual([2, 4]);
    expect([...tf.logicalNot(flags).dataSync()]).toEqual([0, 1]);
    expect([...tf.concat([words, words]).dataSync()]).toEqual(['a', 'b', 'a', 'b']);
  });
  tf.dispose([x, flags, words]);
});

it('times what runs', () =>
  withBackend({}, async (backend) => {
    const { kernelMs } = await backend.time(() => tf.matMul(tf.ones([64, 64]), tf.ones([64, 64])));
    expect(kernelMs).toBeGreaterThan(0);
  }));

// 9 is no row: at hand it is seen at once, computed only when the graph runs.
const outOfRange = () => tf.gather(tf.ones([4, 2]), tf.cast(tf.mul(tf.tensor1d([3, 3]), 3), 'int32') as tf.Tensor1D);

it('an error of the runtime names kernel, shapes, types and the next backend, in the read that meets it', () =>
  withBackend({}, () => {
    const y = outOfRange();
    const z = tf.mul(y, 2);
    const message = /kernel GatherV2 of float32 \[4, 2\], int32 \[2\] to float32 \[2, 2\] does not run on ONNX Runtime: .*ESPALIER_BACKEND=wasm/;
    expect(() => y.dataSync()).toThrow(message);
    expect(() => z.dataSync()).toThrow(message); // what depends on it fails alike
    expect([...tf.add(1, 2).dataSync()]).toEqual([3]); // the rest goes on
  }));

it('running out of memory is said to be that', () =>
  withBackend({}, () => {
    const n = 12e6; // n n floats are more than a process can address
    expect(() => tf.tidy(() => tf.matMul(tf.ones([n, 1]), tf.ones([1, n])).dataSync())).toThrow(/kernel BatchMatMul .* out of memory: a smaller batch, or recomputation, needs less\. .*ESPALIER_BACKEND/);
    expect([...tf.add(1, 2).dataSync()]).toEqual([3]);
  }));

it('in eager mode the error comes at the operation', () =>
  withBackend({ mode: 'eager' }, () => {
    expect(outOfRange).toThrow(/GatherV2: the index value 9 is not in \[0, 3\]/);
  }));

it('indices at hand are checked before anything runs', () =>
  withBackend({}, () => {
    expect(() => tf.gather(tf.ones([4]), [1, -1])).toThrow(/GatherV2: the index value -1 is not in \[0, 3\] \(position 1\)/);
    expect(() => tf.scatterND(tf.tensor2d([[4]], [1, 1], 'int32'), tf.ones([1, 2]), [4, 2])).toThrow(/ScatterNd: Invalid indices: 4 \(row 0\) does not index into 4,2/);
  }));

it('refuses wrong options and a name that is taken', () =>
  withBackend({}, () => {
    expect(() => registerOnnx(JSON.parse('{"thread": 2}'))).toThrow(/Unrecognized key: "thread"/);
    expect(() => registerOnnx({ threads: 0 })).toThrow(OnnxBackendError);
    expect(() => registerOnnx({ name: tf.getBackend() })).toThrow(/is registered already/);
  }));
