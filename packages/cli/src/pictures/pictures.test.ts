import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { capturedConsole } from '../captured-console.ts';
import { runCommand } from '../program.ts';
import { entropyChart, frontier, measureByType, measureMap, paretoChart } from './charts.ts';
import { toSvg } from './draw.ts';
import { measureMeans, type MeasureReport } from './measures.ts';

const report: MeasureReport = {
  instance: 'p', name: 'probability', questions: 4,
  of: [{ row: 'a', column: 'x' }, { row: 'a', column: 'y' }, { row: 'b', column: 'x' }],
  mean: [0.5, 1, 0.25],
  byQuestionType: { color: { questions: 3, mean: [0.2, 0.4, 0.1] }, shape: { questions: 1, mean: [1, 0, 0.75] } },
  entropy: { within: [0.5, 0, 0.25], between: [0.5, 0, 0.5] },
};
const textOf = (svg: string) => [...svg.matchAll(/<text[^>]*>([^<]*)</g)].map(([, text]) => text);
const drawn = async (...args: Parameters<typeof toSvg>) => textOf((await toSvg(...args))!);

describe('pictures', () => {
  it('of a measure show its means by row and column', async () => {
    const text = await drawn(measureMap(report));
    expect(text).toEqual(expect.arrayContaining(['0.50', '1.00', '0.25', 'a', 'b', 'x', 'y', 'p: probability, mean of 4 questions']));
    expect(measureMeans([report])).toEqual({ 'p probability': (0.5 + 1 + 0.25) / 3 });
  });

  it('by question type average over the components of a layer', async () => {
    expect(await drawn(measureByType(report))).toEqual(expect.arrayContaining(['color (3)', 'shape (1)', '0.30', '0.10', '0.50', '0.75']));
  });

  it('of entropies stack what differs between samples on what is undecided within one', () => {
    expect(entropyChart(report).data).toEqual({
      values: [
        { layer: 'a', order: 0, part: 'within a sample', bits: 0.25 }, { layer: 'a', order: 1, part: 'between samples', bits: 0.25 },
        { layer: 'b', order: 0, part: 'within a sample', bits: 0.25 }, { layer: 'b', order: 1, part: 'between samples', bits: 0.5 },
      ],
    });
  });

  it('of accuracy against FLOPs join what nothing cheaper is as good as', async () => {
    const points = [[3, 50], [1, 40], [2, 30], [4, 50], [5, 60], [1, 35]].map(([megaflops, percent]) => ({ megaflops: megaflops!, percent: percent! }));
    expect(frontier(points).map((p) => [p.megaflops, p.percent])).toEqual([[1, 40], [3, 50], [5, 60]]);
    expect(frontier([])).toEqual([]);
    const text = await drawn(paretoChart('t', [{ method: 'm', setting: '30 %', flops: 2e6, accuracy: 0.5 }, { method: 'n', flops: 3e6, accuracy: 0.6 }]));
    expect(text).toEqual(expect.arrayContaining(['m', 'n', '30 %', 't']));
  });
});

describe('espalier eval --report', () => {
  const folder = mkdtempSync(join(tmpdir(), 'espalier-pictures-'));
  afterAll(() => rmSync(folder, { recursive: true }));
  const at = (name: string) => join(folder, name);
  const tiny = ['--size', 'tiny', '--data', 'shapes:24', '--features', 'components', '--limit-train', '16', '--limit-eval', '12', '--epochs', '1', '--backend', 'cpu'];
  const ran = async (...args: string[]) => {
    const to = capturedConsole();
    expect([await runCommand(args, to), to.printed.err]).toEqual([0, expect.any(String)]);
    return to;
  };

  it('adds up what samples opened, by question type, and draws it', async () => {
    const trained = await ran('train', ...tiny, '--plugin', 'spottune:{"strategy":"spottune"}', '--out', at('adaptive'), '--json');
    const { measured } = Object(trained.objects().at(-1));
    expect(Object.keys(measured)).toEqual(['spottune open', 'spottune probability']);
    const to = await ran('eval', '--model', at('adaptive'), '--report', at('report'), '--backend', 'cpu');
    expect(to.printed.out).toMatch(/report\.json and spottune\.open\.svg, .* written to .*report\n$/);
    expect(readdirSync(at('report')).sort()).toEqual(['report.json', 'spottune.open.by-question-type.svg', 'spottune.open.svg', 'spottune.probability.by-question-type.svg', 'spottune.probability.entropy.svg', 'spottune.probability.svg']);
    const { measures, accuracy, byQuestionType, questions } = JSON.parse(readFileSync(join(at('report'), 'report.json'), 'utf8'));
    expect(accuracy).toBe(Object(trained.objects().at(-1)).accuracy);
    const [open, probability]: MeasureReport[] = measures;
    expect(open!.of[0]).toEqual({ row: 'joint.0', column: 'attention.heads 0' });
    expect(open!.questions).toBe(questions);
    expect(Object.keys(open!.byQuestionType)).toEqual(Object.keys(byQuestionType));
    for (const m of [open!, probability!])
      m.mean.forEach((x, i) => {
        const byType = Object.values(m.byQuestionType).reduce((sum, t) => sum + (t.mean[i]! * t.questions) / m.questions, 0);
        expect(x).toBeCloseTo(byType, 9);
      });
    probability!.entropy!.within.forEach((h, i) => expect(h + probability!.entropy!.between[i]!).toBeLessThanOrEqual(1 + 1e-9));
    expect(measureMeans(measures)['spottune open']).toBeCloseTo(measured['spottune open'], 9);
  });

  it('says so where no plugin measures anything', async () => {
    await ran('train', ...tiny, '--plugin', 'lora', '--out', at('plain'));
    const to = await ran('eval', '--model', at('plain'), '--report', at('nothing'), '--backend', 'cpu');
    expect(to.printed.out).toMatch(/none of the plugins measures anything, so there is no picture\n$/);
    expect(readdirSync(at('nothing'))).toEqual(['report.json']);
  });
});
