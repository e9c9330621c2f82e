import { rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { parse, View } from 'vega';
import { compile, type TopLevelSpec } from 'vega-lite';
import { paretoChart, type Trained } from '@espalier/cli';
import type { Line } from './lines.ts';

/** Writes `vqa.md`, a table per setting, and one plot per setting, from the results alone. */
export async function render(lines: readonly Line[], directory: string): Promise<void> {
  const settings = [...new Set(lines.map((l) => l.setting))];
  const sections: string[] = [];
  for (const setting of settings) {
    const own = lines.filter((l) => l.setting === setting);
    const table = tableOf(own);
    const plot = `vqa-${setting}.svg`;
    const adaptive = own.some((l) => l.summary.measured !== undefined);
    const pareto = adaptive ? `vqa-${setting}-flops.svg` : undefined;
    if (pareto) await whole(join(directory, pareto), await svgOf(paretoChart(setting, trainedOf(own))));
    sections.push(`## ${setting}\n\n${table}\n\n![accuracy against trainable parameters](${plot})${pareto ? `\n\n![accuracy against FLOPs](${pareto})` : ''}\n\n${own.map((l) => `    ${l.command}`).join('\n')}`);
    await whole(join(directory, plot), await svgOf(plotOf(setting, own)));
    console.log(`${setting}\n${table}\n`);
  }
  await whole(join(directory, 'vqa.md'), `# VQA comparisons\n\nRendered from \`vqa.jsonl\` by \`npm run bench -- vqa --render\`. Accuracy is on the official test split, scored once; early stopping uses the validation split (a tenth of the training images). Rates were not searched.\n\n${sections.join('\n\n')}\n`);
}

const svgOf = (spec: TopLevelSpec): Promise<string> => new View(parse(compile(spec).spec), { renderer: 'none' }).toSVG();
const meanOf = (xs: readonly number[]) => xs.reduce((a, b) => a + b, 0) / xs.length;
/** Share of the gates that are open, where a method has any. */
const usedOf = ({ summary }: Line): number | undefined => summary.measured?.['spottune open'];

/** A point per method, the mean of its seeds. */
function trainedOf(lines: readonly Line[]): Trained[] {
  return [...new Set(lines.map((l) => `${l.backbone} ${l.method}`))].map((method) => {
    const own = lines.filter((l) => `${l.backbone} ${l.method}` === method);
    return { method, flops: meanOf(own.map((l) => l.summary.flopsPerSample)), accuracy: meanOf(own.map((l) => l.summary.accuracy)) };
  });
}

function tableOf(lines: readonly Line[]): string {
  const names = [...new Set(lines.map((l) => `${l.backbone}|${l.method}`))];
  const gated = lines.some((l) => usedOf(l) !== undefined);
  const body = names.map((name) => {
    const group = lines.filter((l) => `${l.backbone}|${l.method}` === name);
    const { backbone, method, summary } = group[0]!;
    const accuracies = group.map((l) => 100 * l.summary.accuracy);
    const mean = accuracies.reduce((a, b) => a + b, 0) / accuracies.length;
    const spread = accuracies.length > 1 ? ` (${Math.min(...accuracies).toFixed(2)} to ${Math.max(...accuracies).toFixed(2)})` : '';
    return `| ${backbone} | ${method} | ${mean.toFixed(2)}${spread} | ${group.length} | ${summary.trainableParameters.toLocaleString('en')} | ${Math.round(summary.seconds)} | ${(meanOf(group.map((l) => l.summary.flopsPerSample)) / 1e6).toFixed(1)} |${gated ? ` ${shareOf(group)} |` : ''}`;
  });
  return ['| backbone | method | test accuracy, % | seeds | trainable parameters | seconds | MFLOPs a sample |', '|---|---|---|---|---|---|---|'].map((line, i) => (gated ? `${line}${[' gates open, % |', '---|'][i]}` : line)).concat(body).join('\n');
}

/** The mean share of open gates; nothing of a method without. */
function shareOf(lines: readonly Line[]): string {
  const used = lines.flatMap((l) => usedOf(l) ?? []);
  return used.length ? (100 * meanOf(used)).toFixed(0) : '';
}

const plotOf = (setting: string, lines: readonly Line[]): TopLevelSpec => ({
  title: setting,
  width: 420,
  height: 260,
  background: 'white',
  data: { values: lines.map((l) => ({ method: l.method, backbone: l.backbone, percent: 100 * l.summary.accuracy, trainable: l.summary.trainableParameters })) },
  mark: { type: 'point', filled: true, size: 90 },
  encoding: {
    x: { field: 'trainable', type: 'quantitative', scale: { type: 'log' }, title: 'trainable parameters' },
    y: { field: 'percent', type: 'quantitative', scale: { zero: false }, title: 'test accuracy, %' },
    color: { field: 'method', type: 'nominal' },
    shape: { field: 'backbone', type: 'nominal' },
  },
});

async function whole(path: string, content: string): Promise<void> {
  await writeFile(`${path}.tmp`, content);
  await rename(`${path}.tmp`, path);
}
