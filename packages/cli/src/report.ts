import type { Cost } from '@espalier/core';
import type { Flops } from './flops.ts';
import type { Score, Share } from './scoring.ts';
import type { Summary } from './summary.ts';
import { columns, megabytes, megaflops, percent, whole } from './table.ts';

/** The summary of a training as a table. */
export function describeSummary(s: Summary): string {
  const plugins = Object.entries(s.flopsByPlugin).map(([name, flops]) => `${name} ${megaflops(flops)}`);
  const facts = [
    [`accuracy (${s.split})`, `${percent(s.accuracy)} of ${whole(s.questions)} questions`],
    ['accuracy (validation)', percent(s.validationAccuracy)],
    ['loss', s.loss.toFixed(4)],
    ['records skipped', whole(s.skipped)],
    ...(s.cut ? [['questions cut', whole(s.cut)]] : []),
    ['parameters', `${whole(s.trainableParameters)} trained of ${whole(s.totalParameters)}`],
    ['saved', `${megabytes(s.bytes)} in ${s.out}`],
    ['training', `${s.steps} steps, ${s.epochs} epochs${s.bestEpoch === undefined ? '' : `, best after epoch ${s.bestEpoch}`}, ${whole(s.trainQuestions)} questions each`],
    ['time', `${s.seconds.toFixed(1)} s, ${s.samplesPerSecond.toFixed(1)} samples/s; scoring ${s.scoringSeconds.toFixed(1)} s`],
    ['forward pass', `${megaflops(s.flopsPerSample)} per sample (${plugins.join(', ')})`],
    ...Object.entries(s.measured).map(([name, mean]) => [name, `${mean.toFixed(3)} in the mean`]),
    ['peak memory', megabytes(s.peakMemory)],
    ['backbone', `${s.backbone}, weights ${s.weights}, plugins ${s.plugins.join(', ')}`],
    ['data', s.data],
    ['run with', `backend ${s.backend}, seed ${s.seed}, espalier ${s.versions.espalier}, tfjs ${s.versions.tfjs}, Node ${s.versions.node}`],
  ];
  return `${facts.map(([name, value]) => `${name!.padEnd(22)}  ${value}`).join('\n')}\n\n${describeFlops(s.flops)}\n\n${describeShares(s)}`;
}

/**
 * FLOPs of a sample by plugin and by block: what its decisions let expect, and what was spent, mean and 95th percentile over
 * the samples that were counted.
 */
export function describeFlops({ samples, perSample, perSampleByPlugin, perSampleByPlace }: Flops): string {
  const row = (name: string, { expected, spent }: Cost) => [name, ...[expected.mean, expected.p95, spent.mean, spent.p95].map((x) => (x / 1e6).toFixed(2)), percent(spent.mean / perSample.spent.mean)];
  const table = (by: string, rows: readonly (readonly [string, Cost])[]) => columns([[by, 'expected', '95 %', 'spent', '95 %', 'share'], ...rows.map(([name, cost]) => row(name, cost))]);
  return [
    `MFLOPs of a sample and forward pass (two per multiply-add of a matrix product), counted on ${whole(samples)} ${samples === 1 ? 'sample' : 'samples'}`,
    table('by plugin', [...Object.entries(perSampleByPlugin), ['in all', perSample]]),
    table('by place', Object.entries(perSampleByPlace)),
  ].join('\n\n');
}

/** Accuracy by answer type and by question type. */
export function describeShares({ byAnswerType, byQuestionType }: Pick<Score, 'byAnswerType' | 'byQuestionType'>): string {
  const rows = (shares: Readonly<Record<string, Share>>) => Object.entries(shares).map(([name, s]) => [name, percent(s.accuracy), whole(s.questions)]);
  return [
    columns([['answer type', 'accuracy', 'questions'], ...rows(byAnswerType)]),
    columns([['question type', 'accuracy', 'questions'], ...rows(byQuestionType)]),
  ].join('\n\n');
}
