import { useCpu } from './backend.ts';
import { disposeInputs, tinyInputs, type InputOptions } from './inputs.ts';
import { tinyOneStream, tinyTwoStream } from './tiny.ts';

/** Tiny models of one and of two streams with a batch, on cpu: for all tests of a file, whose `afterAll` disposes them. */
export async function tinyModels(afterAll: (f: () => void) => unknown, options?: InputOptions) {
  await useCpu();
  const [one, two, inputs] = [tinyOneStream(), tinyTwoStream(), tinyInputs(options)];
  afterAll(() => {
    one.dispose();
    two.dispose();
    disposeInputs(inputs);
  });
  return { one, two, inputs };
}
