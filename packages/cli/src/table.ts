/** Columns aligned with spaces: text to the left, what looks like a number to the right. */
export function columns(rows: readonly (readonly string[])[], indent = ''): string {
  const widths = (rows[0] ?? []).map((_, c) => Math.max(...rows.map((row) => row[c]?.length ?? 0)));
  const numeric = widths.map((_, c) => rows.slice(1).every((row) => /^[\d.,%+-]*( [A-Za-z]+| %)?$/.test(row[c] ?? '')));
  const cell = (text: string, c: number) => (numeric[c] ? text.padStart(widths[c]!) : text.padEnd(widths[c]!));
  return rows.map((row) => `${indent}${row.map(cell).join('  ')}`.trimEnd()).join('\n');
}

export const percent = (x: number): string => `${(100 * x).toFixed(2)} %`;
export const whole = (n: number): string => Math.round(n).toLocaleString('en');
export const megabytes = (bytes: number): string => `${(bytes / 2 ** 20).toFixed(bytes < 2 ** 20 ? 2 : 0)} MiB`;
export const megaflops = (flops: number): string => `${(flops / 1e6).toFixed(2)} MFLOPs`;
