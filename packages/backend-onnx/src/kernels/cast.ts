import { isHostType } from '../arrays.ts';
import type { GraphBuilder } from '../builder.ts';
import type { Emitter, EmitterTable } from '../operation.ts';

/**
 * What Int32Array.of(x) stores: x truncated, modulo 2^32; 0 for what is not finite. In double precision, where it is exact.
 * (Through 64-bit integers would be shorter, but ONNX Runtime joins the two casts into one.)
 */
function toInt32(g: GraphBuilder, x: string, out: readonly string[]): void {
  const double = (value: number) => g.constant({ type: 'float64', dims: [], data: Float64Array.of(value) });
  const finite = g.node('Less', [g.node('Abs', [x]), g.float(Infinity)]);
  const wide = g.cast(g.node('Where', [finite, x, g.float(0)]), 'float64');
  const turns = g.node('Floor', [g.node('Div', [g.node('Add', [wide, double(2 ** 31)]), double(2 ** 32)])]);
  g.into(out, 'Cast', [g.node('Sub', [wide, g.node('Mul', [turns, double(2 ** 32)])])], { to: 6 });
}

const cast: Emitter = ({ inputs: { x }, attrs: { dtype } }) => {
  if (!x || typeof dtype !== 'string' || !isHostType(dtype) || !isHostType(x.dtype)) return undefined;
  if (dtype === x.dtype) return { view: x, shape: x.shape };
  return {
    key: `Cast ${x.dtype} ${dtype}`,
    inputs: [x],
    outputs: [{ shape: x.shape, dtype }],
    rows: () => 'each',
    emit: (g, i, o) => {
      if (x.dtype === 'float32' && dtype === 'int32') toInt32(g, i[0]!, o);
      else g.into(o, 'Cast', i, { to: { float32: 1, int32: 6, bool: 9 }[dtype] });
    },
  };
};

export const casts: EmitterTable = { Cast: cast };
