import { expect, it } from 'vitest';
import { emitters } from '../kernels/table.ts';
import { differences, knownDifferences, neverComputed, reportOf, skipped } from './tfjs-suite-report.ts';
import type { Spec, SuiteRun } from './tfjs-suite.ts';

const spec = (name: string, status: Spec['status'], file = 'ops/a_test.js'): Spec => ({ file, name, status, messages: status === 'failed' ? ['no'] : [] });
const run = (...specs: Spec[]): SuiteRun => ({ version: '0', files: ['ops/a_test.js'], specs, computed: Object.keys(emitters) });
const known = knownDifferences[0]!;

const runs = {
  cpu: run(spec('everywhere', 'failed'), spec('ours', 'passed'), spec(known.name, 'passed', known.file)),
  lazy: run(spec('everywhere', 'failed'), spec('ours', 'failed'), spec(known.name, 'failed', known.file)),
  eager: run(spec('everywhere', 'passed'), spec('ours', 'passed'), spec(known.name, 'passed', known.file)),
};

it('tells what fails on the cpu backend too from what is known and from what nobody knows', () => {
  expect(differences(runs).map(({ name, target, reason }) => ({ name, target, reason }))).toEqual([
    { name: 'everywhere', target: 'lazy', reason: 'fails on the cpu backend too' },
    { name: 'ours', target: 'lazy', reason: undefined },
    { name: known.name, target: 'lazy', reason: known.reason },
  ]);
  expect(reportOf(runs)).toContain('| ops/a_test.js: ours | lazy | **unexplained**: no |');
});

it('counts what was skipped by file and reason', () => {
  const found = skipped(run(spec('needs a browser: one', 'skipped'), spec('needs a browser: two', 'skipped'), spec('three', 'skipped'), spec('four', 'passed')));
  expect(found).toEqual([
    { file: 'ops/a_test.js', reason: 'needs a browser', specs: 2 },
    { file: 'ops/a_test.js', reason: "switched off in tfjs's own source", specs: 1 },
  ]);
});

it('names kernels that were never asked for, but for views', () => {
  expect(neverComputed({ ...run(), computed: Object.keys(emitters).filter((k) => k !== 'Tanh' && k !== 'Reshape') })).toEqual(['Tanh']);
});
