/** Rows of a row-major array put together anew: row i of the result is row `rows[i]`, or zeros where that is -1. `out` [rows, width] begins as zeros. */
export function chooseRows<T extends Float32Array | Float64Array>(values: T, width: number, rows: ArrayLike<number>, out: T): T {
  for (let i = 0; i < rows.length; i++) if (rows[i]! >= 0) out.set(values.subarray(rows[i]! * width, (rows[i]! + 1) * width), i * width);
  return out;
}
