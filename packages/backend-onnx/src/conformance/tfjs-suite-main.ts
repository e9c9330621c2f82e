import { writeFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { runSuite } from './tfjs-suite.ts';
import { differences, reportOf } from './tfjs-suite-report.ts';

/*
 * Prints what tfjs's own tests find: `node tfjs-suite-main.js [--write FILE]`. Fails for a difference nobody knows.
 */

const { values: { write } } = parseArgs({ options: { write: { type: 'string' } } });
const runs = { cpu: await runSuite('cpu'), lazy: await runSuite('lazy'), eager: await runSuite('eager') };
const report = reportOf(runs);
console.log(report);
if (write !== undefined) writeFileSync(write, report);
process.exitCode = differences(runs).some((d) => d.reason === undefined) ? 1 : 0;
