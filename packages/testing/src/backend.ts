import { selectBackend } from '@espalier/core/backend';
import * as tf from '@tensorflow/tfjs';

/** Selects the cpu backend, without its hint to install another one. Call it before the first tensor of a test file. */
export async function useCpu(): Promise<void> {
  tf.env().set('PROD', true);
  await tf.setBackend('cpu');
  await tf.ready();
}

/** Selects the onnx backend, which records steps and replays them. Node only; `useCpu` afterwards. */
export async function useOnnx(): Promise<void> {
  await selectBackend('onnx');
}
