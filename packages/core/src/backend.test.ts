import * as tf from '@tensorflow/tfjs';
import { afterAll, afterEach, expect, it } from 'vitest';
import { selectBackend } from './backend.ts';
import { EspalierError } from './errors.ts';

afterEach(() => {
  delete process.env['ESPALIER_BACKEND'];
});
afterAll(() => tf.setBackend('cpu'));

it('takes onnx where TensorFlow is not installed, and says what it passed over', async () => {
  const { name, skipped } = await selectBackend();
  expect([name, tf.getBackend()]).toEqual(['onnx', 'onnx']);
  expect(skipped).toEqual([{ name: 'tfjs-node-gpu', reason: 'not installed' }, { name: 'tfjs-node', reason: 'not installed' }]);
  expect((await selectBackend()).name).toBe('onnx'); // it is registered once
});

it.each([['onnx-eager', 'onnx-eager'], ['wasm', 'wasm'], ['cpu', 'cpu']])('%s is to be had by name', async (name, registered) => {
  expect(await selectBackend(name)).toEqual({ name, skipped: [] });
  expect(tf.getBackend()).toBe(registered);
  expect([...tf.tidy(() => tf.matMul([[1, 2]], [[3], [4]])).dataSync()]).toEqual([11]);
});

it('the environment decides where nothing is asked for', async () => {
  process.env['ESPALIER_BACKEND'] = 'wasm';
  expect((await selectBackend()).name).toBe('wasm');
  expect((await selectBackend('auto', { threads: 1 })).name).toBe('wasm'); // threads are for onnx, where that is taken
  expect((await selectBackend('cpu')).name).toBe('cpu');
  process.env['ESPALIER_BACKEND'] = 'wsam';
  await expect(selectBackend()).rejects.toThrow(/no backend 'wsam'\. Did you mean 'wasm'\?/);
});

it('refuses what cannot be done, and says why', async () => {
  await expect(selectBackend('tfjs-node')).rejects.toThrow(EspalierError);
  await expect(selectBackend('tfjs-node')).rejects.toThrow(/'tfjs-node' does not start: tfjs-node: not installed/);
  await expect(selectBackend('cpu', { threads: 2 })).rejects.toThrow(/threads cannot be set here \(asked for 2\), only for onnx/);
  await selectBackend('onnx');
  await expect(selectBackend('onnx', { threads: 3 })).rejects.toThrow(/it runs with threads: auto already/);
});
