import { EspalierError } from '@espalier/core';

/**
 * (G + ridge I)^-1 C by Cholesky's decomposition, in double precision; G [n, n] symmetric and positive semidefinite, C [n, m],
 * both row by row. @throws EspalierError where G + ridge I is not positive definite.
 */
export function solveRidge(g: Float64Array, c: Float64Array, n: number, ridge: number): Float64Array {
  const m = c.length / n;
  const l = new Float64Array(n * n); // G + ridge I = L L'
  for (let i = 0; i < n; i++)
    for (let j = 0; j <= i; j++) {
      let sum = g[i * n + j]! + (i === j ? ridge : 0);
      for (let k = 0; k < j; k++) sum -= l[i * n + k]! * l[j * n + k]!;
      if (i !== j) l[i * n + j] = sum / l[j * n + j]!;
      else if (sum > 0) l[i * n + i] = Math.sqrt(sum);
      else throw new EspalierError(`least squares: the features are linearly dependent (row ${i}); give a larger lambda than ${ridge}`);
    }
  const x = Float64Array.from(c);
  const eliminate = (i: number, k: number, by: number) => {
    for (let j = 0; j < m; j++) x[i * m + j]! -= by * x[k * m + j]!;
  };
  const divide = (i: number) => {
    const pivot = l[i * n + i]!;
    for (let j = 0; j < m; j++) x[i * m + j]! /= pivot;
  };
  for (let i = 0; i < n; i++) {
    for (let k = 0; k < i; k++) eliminate(i, k, l[i * n + k]!);
    divide(i);
  }
  for (let i = n - 1; i >= 0; i--) {
    for (let k = i + 1; k < n; k++) eliminate(i, k, l[k * n + i]!);
    divide(i);
  }
  return x;
}
