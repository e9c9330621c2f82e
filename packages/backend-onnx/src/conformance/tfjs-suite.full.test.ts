import { beforeAll, describe, expect, it } from 'vitest';
import { runSuite } from './tfjs-suite.ts';
import { count, differences, neverComputed, reportOf, type SuiteRuns } from './tfjs-suite-report.ts';

/** Below this the loader, not a test, is at fault: @tensorflow/tfjs-core 4.22.0 has 265 files with 4387 specs. */
const [FILES, PASSED] = [265, 4200];

describe("tfjs's own tests", () => {
  let runs: SuiteRuns;
  beforeAll(async () => {
    runs = { cpu: await runSuite('cpu'), lazy: await runSuite('lazy'), eager: await runSuite('eager') };
    console.log(reportOf(runs));
  }, 600_000);

  it.each(['cpu', 'lazy', 'eager'] as const)('run on %s: every file, and enough specs', (target) => {
    const run = runs[target];
    expect(run.files).toHaveLength(FILES);
    const withSpecs = new Set(run.specs.map((s) => s.file));
    expect(run.files.filter((f) => !withSpecs.has(f))).toEqual([]);
    expect(run.specs).toHaveLength(runs.cpu.specs.length);
    expect(count(run, 'passed')).toBeGreaterThanOrEqual(PASSED);
  });

  it.each(['lazy', 'eager'] as const)('reach every kernel that has an emitter, in %s mode', (mode) => {
    expect(neverComputed(runs[mode])).toEqual([]);
  });

  it('pass, but for differences with a reason', () => {
    expect(differences(runs).filter((d) => d.reason === undefined)).toEqual([]);
  });
});
