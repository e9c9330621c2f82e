/** The inverse of a square matrix, by rows, by elimination with the largest pivot; undefined where it is singular. */
export function inverse(matrix: readonly (readonly number[])[]): number[][] | undefined {
  const n = matrix.length;
  const rows = matrix.map((row, i) => [...row, ...Array.from({ length: n }, (_, j) => (i === j ? 1 : 0))]);
  const largest = Math.max(...matrix.flat().map(Math.abs));
  for (let k = 0; k < n; k++) {
    let best = k;
    for (let i = k + 1; i < n; i++) if (Math.abs(rows[i]![k]!) > Math.abs(rows[best]![k]!)) best = i;
    [rows[k], rows[best]] = [rows[best]!, rows[k]!];
    const pivot = rows[k]!;
    // The entries come from single precision: what is smaller than its rounding is zero.
    if (!(Math.abs(pivot[k]!) > 1e-7 * largest)) return undefined;
    for (let j = 2 * n - 1; j >= k; j--) pivot[j]! /= pivot[k]!;
    for (let i = 0; i < n; i++) {
      const row = rows[i]!;
      const factor = row[k]!;
      if (i !== k && factor !== 0) for (let j = k; j < 2 * n; j++) row[j]! -= factor * pivot[j]!;
    }
  }
  return rows.map((row) => row.slice(n));
}
