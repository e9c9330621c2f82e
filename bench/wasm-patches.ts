import * as tf from '@tensorflow/tfjs';
import { paired, show } from './paired.ts';

/** The patched kernels against the backend's own, on the shapes of a small and a base transformer. Run before any patch is in force. */
export async function wasmPatches(): Promise<void> {
  await import('@tensorflow/tfjs-backend-wasm');
  await tf.setBackend('wasm');
  const own = { product: kernel('BatchMatMul'), sum: kernel('Sum') };
  const { selectBackend } = await import('@espalier/core/backend');
  await selectBackend('wasm');
  const mended = { product: kernel('BatchMatMul'), sum: kernel('Sum') };
  console.log('patched wasm kernels against the backend\'s own: time ratio');

  const side = (shape: number[]) => tf.randomNormal(shape, 0, 1, 'float32', 1);
  const products = [
    { name: 'scores q k\' [32, 4, 72, 32]', a: [32, 4, 72, 32], b: [32, 4, 72, 32], attrs: { transposeA: false, transposeB: true } },
    { name: 'context p v [32, 4, 72, 72]', a: [32, 4, 72, 72], b: [32, 4, 72, 32], attrs: { transposeA: false, transposeB: false } },
    { name: 'dX = dY W\' [2304, 128]', a: [1, 2304, 128], b: [1, 128, 128], attrs: { transposeA: false, transposeB: true } },
    { name: 'dW = X\' dY [2304, 128]', a: [1, 2304, 128], b: [1, 2304, 128], attrs: { transposeA: true, transposeB: false } },
  ];
  for (const { name, a, b, attrs } of products) {
    const inputs = { a: side(a), b: side(b) };
    const run = (f: Kernel) => () => drop(f({ inputs, backend: tf.backend(), attrs }));
    console.log(show(name, await paired(run(mended.product), run(own.product))));
    tf.dispose([inputs.a, inputs.b]);
  }
  const inputs = { x: side([2304, 512]) };
  const run = (f: Kernel) => () => drop(f({ inputs, backend: tf.backend(), attrs: { axis: [0], keepDims: false } }));
  console.log(show('sum over rows [2304, 512]', await paired(run(mended.sum), run(own.sum))));
  inputs.x.dispose();
}

type Kernel = tf.KernelFunc;
const kernel = (name: string): Kernel => tf.getKernel(name, 'wasm').kernelFunc;
const drop = (out: tf.TensorInfo | tf.TensorInfo[]) => {
  for (const t of Array.isArray(out) ? out : [out]) tf.backend().disposeData(t.dataId);
};
