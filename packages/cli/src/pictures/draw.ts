import { join } from 'node:path';
import { writeWhole } from '@espalier/train';
import type { TopLevelSpec } from 'vega-lite';
import { entropyChart, measureByType, measureMap } from './charts.ts';
import type { MeasureReport } from './measures.ts';

/** A chart as SVG, without a DOM; undefined where `vega` and `vega-lite`, which draw it, are not installed. */
export async function toSvg(spec: TopLevelSpec): Promise<string | undefined> {
  const drawing = await library();
  return drawing && new drawing.View(drawing.parse(drawing.compile(spec).spec), { renderer: 'none' }).toSVG();
}

async function library() {
  try {
    const [{ parse, View }, { compile }] = await Promise.all([import('vega'), import('vega-lite')]);
    return { parse, View, compile };
  } catch (e) {
    if (e instanceof Error && 'code' in e && e.code === 'ERR_MODULE_NOT_FOUND') return undefined;
    throw e;
  }
}

/** The pictures of measures by name: usage by layer and component and by question type, and entropies of probabilities. */
export const picturesOf = (measures: readonly MeasureReport[]): Record<string, TopLevelSpec> =>
  Object.fromEntries(
    measures.flatMap((m): [string, TopLevelSpec][] => {
      const name = `${m.instance}.${m.name}`;
      return [[name, measureMap(m)], [`${name}.by-question-type`, measureByType(m)], ...(m.entropy ? [[`${m.instance}.${m.name}.entropy`, entropyChart(m)] satisfies [string, TopLevelSpec]] : [])];
    }),
  );

/** Writes pictures to a directory: NAME.svg, or NAME.vl.json, a Vega-Lite specification, where they cannot be drawn. Gives the files' names. */
export async function writePictures(directory: string, pictures: Readonly<Record<string, TopLevelSpec>>): Promise<string[]> {
  const files: string[] = [];
  for (const [name, spec] of Object.entries(pictures)) {
    const svg = await toSvg(spec);
    const file = svg === undefined ? `${name}.vl.json` : `${name}.svg`;
    await writeWhole(join(directory, file), new TextEncoder().encode(svg ?? `${JSON.stringify(spec)}\n`));
    files.push(file);
  }
  return files;
}
