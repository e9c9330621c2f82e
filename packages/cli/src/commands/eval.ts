import { join } from 'node:path';
import { selectBackend } from '@espalier/core/backend';
import { writeWhole } from '@espalier/train';
import { downloads, printJson } from '../console.ts';
import { evaluate } from '../evaluation.ts';
import { openModel } from '../model-directory.ts';
import { progressFor } from '../progress.ts';
import { picturesOf, writePictures } from '../pictures/draw.ts';
import { describeFlops, describeShares } from '../report.ts';
import { EvalSettings } from '../settings.ts';
import { percent, whole } from '../table.ts';
import { command } from './command.ts';

export const evalCommand = command({
  name: 'eval',
  says: 'Score a trained model; without further options the same numbers as at the end of its training',
  examples: ['espalier eval --model out/run-1', 'espalier eval --model out/run-1 --split validation --predictions out/predictions.jsonl --json'],
  settings: EvalSettings,
  run: async ({ model: directory, weights, offline, backend, threads, json, predictions, report, data, split, limitEval }, to) => {
    await selectBackend(backend, { threads });
    const opened = await openModel(directory, { weights, offline, ...downloads(to) });
    const progress = progressFor(to, { json });
    const lines: string[] = [];
    try {
      const result = await evaluate(opened, {
        data, split, limitEval, signal: to.signal, measured: report !== undefined,
        onBatch: (done, of) => progress.show({ type: 'scoring', split: split ?? 'questions', done, of }),
        onPrediction: (prediction) => lines.push(`${JSON.stringify(prediction)}\n`),
      });
      progress.end();
      if (predictions !== undefined) await writeWhole(predictions, new TextEncoder().encode(lines.join('')));
      const { measures = [], ...rest } = result;
      const pictures = report === undefined ? [] : await writePictures(report, picturesOf(measures));
      if (report !== undefined) await writeWhole(join(report, 'report.json'), new TextEncoder().encode(`${JSON.stringify({ ...rest, measures })}\n`));
      if (json) printJson(to, report === undefined ? rest : { ...rest, report, pictures });
      else to.out(`${percent(result.accuracy)} of ${whole(result.questions)} questions (${result.split} of ${result.data}), loss ${result.loss.toFixed(4)}, ${whole(result.skipped)} records skipped\n\n${describeFlops(result.flops)}\n\n${describeShares(result)}\n${report === undefined ? '' : `\n${written(report, pictures)}\n`}`);
    } finally {
      progress.end();
      opened.dispose();
    }
  },
});

function written(directory: string, pictures: readonly string[]): string {
  if (!pictures.length) return `report.json written to ${directory}; none of the plugins measures anything, so there is no picture`;
  const drawn = pictures.every((name) => name.endsWith('.svg'));
  return `report.json and ${pictures.join(', ')} written to ${directory}${drawn ? '' : '. For SVG in place of Vega-Lite specifications: npm install vega vega-lite'}`;
}
