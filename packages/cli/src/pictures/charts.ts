import type { TopLevelSpec } from 'vega-lite';
import type { MeasureReport } from './measures.ts';

const BACKGROUND = { background: 'white' } as const;
const share = (title: string) => ({ field: 'value', type: 'quantitative', scale: { domain: [0, 1], scheme: 'viridis' }, title }) as const;
const inOrder = (xs: readonly string[]) => [...new Set(xs)];
const titleOf = ({ instance, name, questions }: MeasureReport) => `${instance}: ${name}, mean of ${questions.toLocaleString('en')} questions`;

/** A measure's mean by layer (rows) and component (columns). */
export const measureMap = (report: MeasureReport): TopLevelSpec => ({
  ...BACKGROUND,
  title: { text: titleOf(report), anchor: 'start' },
  width: { step: 26 },
  height: { step: 22 },
  data: { values: report.of.map((at, m) => ({ ...at, value: report.mean[m]! })) },
  layer: [
    { mark: 'rect', encoding: { color: share(report.name) } },
    {
      mark: { type: 'text', fontSize: 8 },
      encoding: { text: { field: 'value', type: 'quantitative', format: '.2f' }, color: { condition: { test: 'datum.value > 0.6', value: 'black' }, value: 'white' } },
    },
  ],
  encoding: {
    x: { field: 'column', type: 'nominal', sort: inOrder(report.of.map((at) => at.column)), title: 'component', axis: { labelAngle: -50 } },
    y: { field: 'row', type: 'nominal', sort: inOrder(report.of.map((at) => at.row)), title: 'layer' },
  },
});

/** A measure's mean over the components of each layer (columns), by question type (rows). */
export const measureByType = (report: MeasureReport): TopLevelSpec => {
  const layers = inOrder(report.of.map((at) => at.row));
  const types = Object.entries(report.byQuestionType).map(([type, { questions, mean }]) => ({ type: `${type} (${questions.toLocaleString('en')})`, mean }));
  return {
    ...BACKGROUND,
    title: { text: `${titleOf(report)}, by question type`, anchor: 'start' },
    width: { step: 32 },
    height: { step: 22 },
    data: { values: types.flatMap(({ type, mean }) => layers.map((layer) => ({ type, layer, value: meanOver(report, layer, mean) }))) },
    layer: [
      { mark: 'rect', encoding: { color: share(report.name) } },
      {
        mark: { type: 'text', fontSize: 8 },
        encoding: { text: { field: 'value', type: 'quantitative', format: '.2f' }, color: { condition: { test: 'datum.value > 0.6', value: 'black' }, value: 'white' } },
      },
    ],
    encoding: {
      x: { field: 'layer', type: 'nominal', sort: layers, title: 'layer', axis: { labelAngle: -50 } },
      y: { field: 'type', type: 'nominal', title: 'question type (questions)' },
    },
  };
};

/** A probability's entropy by layer: what is undecided within a sample, and above it what differs between samples. */
export const entropyChart = (report: MeasureReport): TopLevelSpec => {
  const layers = inOrder(report.of.map((at) => at.row));
  const { within, between } = report.entropy ?? { within: [], between: [] };
  return {
    ...BACKGROUND,
    title: { text: `${report.instance}: entropy of a decision, mean of each layer's`, anchor: 'start' },
    width: { step: 34 },
    height: 180,
    data: {
      values: layers.flatMap((layer) => [
        { layer, order: 0, part: 'within a sample', bits: meanOver(report, layer, within) },
        { layer, order: 1, part: 'between samples', bits: meanOver(report, layer, between) },
      ]),
    },
    mark: 'bar',
    encoding: {
      x: { field: 'layer', type: 'nominal', sort: layers, title: 'layer', axis: { labelAngle: -50 } },
      y: { field: 'bits', type: 'quantitative', scale: { domain: [0, 1] }, title: 'bits', stack: 'zero' },
      color: { field: 'part', type: 'nominal', title: null },
      order: { field: 'order' },
    },
  };
};

/** One trained model. */
export interface Trained {
  readonly method: string;
  readonly setting?: string; // such as its budget
  readonly flops: number; // per sample, forward
  readonly accuracy: number; // in [0, 1]
}

/** Accuracy against FLOPs; the line joins what no other is both cheaper and better than (Pareto). */
export const paretoChart = (title: string, models: readonly Trained[]): TopLevelSpec => {
  const values = models.map((m) => ({ ...m, setting: m.setting ?? '', megaflops: m.flops / 1e6, percent: 100 * m.accuracy }));
  const x = { field: 'megaflops', type: 'quantitative', scale: { zero: false, padding: 25 }, title: 'MFLOPs of a sample and forward pass' } as const;
  const y = { field: 'percent', type: 'quantitative', scale: { zero: false, padding: 12 }, title: 'test accuracy, %' } as const;
  return {
    ...BACKGROUND,
    title: { text: title, anchor: 'start' },
    width: 460,
    height: 300,
    layer: [
      { data: { values: frontier(values) }, mark: { type: 'line', interpolate: 'step-after', color: '#999', strokeDash: [4, 3] }, encoding: { x, y } },
      { data: { values }, mark: { type: 'point', filled: true, size: 90 }, encoding: { x, y, color: { field: 'method', type: 'nominal', title: 'method' } } },
      { data: { values }, mark: { type: 'text', align: 'left', dx: 8, dy: -6, fontSize: 9 }, encoding: { x, y, text: { field: 'setting' } } },
    ],
  };
};

/** Of points, those that none at most as expensive is as good as; from the cheapest on. */
export function frontier<P extends { readonly megaflops: number; readonly percent: number }>(points: readonly P[]): P[] {
  const kept: P[] = [];
  for (const p of [...points].sort((a, b) => a.megaflops - b.megaflops || b.percent - a.percent)) if (p.percent > (kept.at(-1)?.percent ?? -Infinity)) kept.push(p);
  return kept;
}

/** The mean over the numbers of a row. */
function meanOver({ of }: MeasureReport, row: string, values: readonly number[]): number {
  const own = values.filter((_, m) => of[m]!.row === row);
  return own.reduce((a, b) => a + b, 0) / Math.max(1, own.length);
}
