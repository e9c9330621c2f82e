import { parseArgs } from 'node:util';
import { distance, opCases, runCase } from '@espalier/backend-onnx/conformance';
import { selectBackend } from '@espalier/core/backend';
import * as tf from '@tensorflow/tfjs';

/**
 * The uses of operations that the onnx backend is tested with, on any backend, against the cpu backend or double precision.
 *
 *   npm run bench -- ops --backend wasm
 */
export async function ops(args: string[]): Promise<void> {
  const { values } = parseArgs({ args, options: { backend: { type: 'string', default: 'auto' } } });
  const read = (ts: tf.Tensor[]) => ts.map((t) => ({ values: t.dataSync<'float32'>().slice(), dtype: t.dtype, shape: t.shape.join() }));
  const on = async (backend: string): Promise<(ReturnType<typeof read> | string)[]> => {
    await selectBackend(backend);
    return opCases.map((c) => {
      try {
        const out = runCase(c);
        const found = read(out);
        tf.dispose(out);
        return found;
      } catch (e) {
        return e instanceof Error ? e.message.split('\n')[0]! : String(e);
      }
    });
  };
  const wanted = await on('cpu');
  const { name } = await selectBackend(values.backend);
  const found = await on(name);
  const failures = opCases.flatMap((c, i) => {
    const [got, want] = [found[i]!, wanted[i]!];
    if (typeof want === 'string') return [`${c.name}: cpu itself says ${want}`];
    if (typeof got === 'string') return [`${c.name}: ${got}`];
    return want.flatMap((w, j) => {
      const g = got[j];
      if (!g || g.dtype !== w.dtype || g.shape !== w.shape) return [`${c.name}: ${g?.dtype} [${g?.shape}] instead of ${w.dtype} [${w.shape}]`];
      const truth = c.truth ? Float64Array.from(c.inputs[0]!.values, (x) => c.truth!(Math.fround(x))) : w.values;
      const d = distance(g.values, truth);
      return d > (w.dtype === 'float32' ? 1e-6 : 0) ? [`${c.name}: off by ${d.toPrecision(2)} of the largest entry: ${Array.from(g.values.slice(0, 6)).join(', ')} instead of ${Array.from(truth.slice(0, 6)).join(', ')}`] : [];
    });
  });
  for (const f of failures) console.log(`  ${f}`);
  console.log(`${name}: ${opCases.length - failures.length} of ${opCases.length} uses of operations agree within 1e-6 of the largest entry`);
}
