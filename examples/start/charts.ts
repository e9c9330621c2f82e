import { parse, View } from 'vega';
import { compile, type TopLevelSpec } from 'vega-lite';

/** One method's result, as the table has it. */
export interface MethodResult {
  readonly backbone: string;
  readonly method: string;
  readonly accuracy: number; // in [0, 1], test split
  readonly trainable: number; // parameters
  readonly seconds: number;
  readonly flops: number; // per sample, forward
  readonly byType: Readonly<Record<string, { readonly accuracy: number; readonly questions: number }>>;
}

/** Renders a Vega-Lite specification to SVG; needs no DOM. */
export async function toSvg(spec: TopLevelSpec): Promise<string> {
  return new View(parse(compile(spec).spec), { renderer: 'none' }).toSVG();
}

/** Accuracy against trainable parameters (log scale), one mark per method and backbone. */
export const accuracyChart = (results: readonly MethodResult[]): TopLevelSpec => ({
  title: 'Accuracy against trainable parameters',
  width: 420,
  height: 260,
  background: 'white',
  data: { values: results.map((r) => ({ ...r, percent: 100 * r.accuracy })) },
  layer: [
    {
      mark: { type: 'point', filled: true, size: 110 },
      encoding: {
        color: { field: 'method', type: 'nominal', title: 'method' },
        shape: { field: 'backbone', type: 'nominal', title: 'backbone' },
      },
    },
    { mark: { type: 'text', align: 'left', dx: 9, dy: -6 }, encoding: { text: { field: 'method' } } },
  ],
  encoding: {
    x: { field: 'trainable', type: 'quantitative', scale: { type: 'log', nice: true, padding: 40 }, title: 'trainable parameters' },
    y: { field: 'percent', type: 'quantitative', scale: { zero: false, padding: 15 }, title: 'test accuracy, %' },
  },
});

/** Accuracy by question family, one bar per method. */
export const familyChart = (results: readonly MethodResult[]): TopLevelSpec => ({
  title: 'Accuracy by kind of question',
  width: 420,
  height: 220,
  background: 'white',
  data: {
    values: results.flatMap((r) =>
      Object.entries(r.byType).map(([type, t]) => ({ type, percent: 100 * t.accuracy, method: `${r.backbone} ${r.method}` })),
    ),
  },
  mark: 'bar',
  encoding: {
    x: { field: 'type', type: 'nominal', title: null, axis: { labelAngle: -25 } },
    xOffset: { field: 'method' },
    y: { field: 'percent', type: 'quantitative', title: 'test accuracy, %', scale: { domain: [0, 100] } },
    color: { field: 'method', type: 'nominal', title: 'method' },
  },
});

/** Which answers are given for which, within one answer type: rows are true, columns predicted; counts. */
export const confusionChart = (title: string, pairs: readonly { readonly truth: string; readonly predicted: string }[]): TopLevelSpec => {
  const counts = new Map<string, { truth: string; predicted: string; count: number }>();
  for (const { truth, predicted } of pairs) {
    const key = `${truth}|${predicted}`;
    const held = counts.get(key);
    if (held) held.count++;
    else counts.set(key, { truth, predicted, count: 1 });
  }
  return {
    title,
    width: { step: 30 },
    height: { step: 22 },
    background: 'white',
    data: { values: [...counts.values()] },
    layer: [
      { mark: 'rect', encoding: { color: { field: 'count', type: 'quantitative', scale: { scheme: 'blues' }, title: 'questions' } } },
      { mark: { type: 'text', fontSize: 9 }, encoding: { text: { field: 'count', type: 'quantitative' } } },
    ],
    encoding: {
      x: { field: 'predicted', type: 'nominal', title: 'predicted' },
      y: { field: 'truth', type: 'nominal', title: 'true answer' },
    },
  };
};
