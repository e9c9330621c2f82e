import { EspalierError, isRowGradient, type Gradient } from '@espalier/core';

/** A loss or gradient that is not a number. The variables are as they were before that step. */
export class NonFiniteError extends EspalierError {
  override name = 'NonFiniteError';

  constructor(
    readonly step: number,
    readonly tensor: string, // "loss 'task'" or "the gradient of 'lora/joint.0.attention.query.a'"
    found: string,
    readonly checkpoint: string | undefined,
  ) {
    const where = checkpoint === undefined ? 'There is no checkpoint; give one a directory' : `The last good checkpoint is ${checkpoint}`;
    super(`step ${step}: ${tensor} is ${found}. The variables are as they were before this step. ${where}. Lower the rate, warm up longer, or clip closer.`);
  }
}

/** The first array with an entry that is not finite, by name and entry; undefined when all are finite. Reads every array. */
export async function firstNonFinite(arrays: ReadonlyMap<string, Gradient>): Promise<{ name: string; found: string } | undefined> {
  for (const [name, g] of arrays) {
    const values = await (isRowGradient(g) ? g.rows : g).data();
    const at = values.findIndex((x) => !Number.isFinite(x));
    if (at >= 0) return { name, found: `${values[at]} at entry ${at}` };
  }
  return undefined;
}
