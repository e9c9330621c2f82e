import type { MethodResult } from './charts.ts';

/** The comparison as a Markdown table, cheapest method last. */
export function tableOf(results: readonly MethodResult[]): string {
  const head = ['backbone', 'method', 'test accuracy', 'trainable parameters', 'seconds', 'MFLOPs a sample'];
  const body = results.map((r) => [
    r.backbone,
    r.method,
    `${(100 * r.accuracy).toFixed(1)} %`,
    r.trainable.toLocaleString('en'),
    r.seconds.toFixed(0),
    (r.flops / 1e6).toFixed(1),
  ]);
  const widths = head.map((h, c) => Math.max(h.length, ...body.map((row) => row[c]!.length)));
  const line = (row: readonly string[]) => `| ${row.map((cell, c) => (c < 2 ? cell.padEnd(widths[c]!) : cell.padStart(widths[c]!))).join(' | ')} |`;
  return [line(head), `|${widths.map((w, c) => (c < 2 ? '-'.repeat(w + 2) : `${'-'.repeat(w + 1)}:`)).join('|')}|`, ...body.map(line)].join('\n');
}
