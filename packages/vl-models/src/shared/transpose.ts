const BLOCK = 32;

/** [rows, columns] -> [columns, rows], block by block so that both sides stay in the processor's cache. */
export function transposed(values: Float32Array, rows: number, columns: number): Float32Array {
  const out = new Float32Array(values.length);
  for (let top = 0; top < rows; top += BLOCK) {
    const bottom = Math.min(top + BLOCK, rows);
    for (let left = 0; left < columns; left += BLOCK) {
      const right = Math.min(left + BLOCK, columns);
      for (let c = left; c < right; c++) {
        const to = c * rows;
        for (let r = top; r < bottom; r++) out[to + r] = values[r * columns + c]!;
      }
    }
  }
  return out;
}
