import { z } from 'zod';
import type { Spec } from './tfjs-suite.ts';

/*
 * The part of jasmine-core that runs a suite; it has no types of its own.
 */

interface JasmineEnv {
  configure(settings: { readonly random: boolean }): void;
  addReporter(reporter: { specDone(result: unknown): void; suiteDone(result: unknown): void }): void;
  execute(): Promise<unknown>;
}
export interface Jasmine {
  DEFAULT_TIMEOUT_INTERVAL: number; // milliseconds
  getEnv(): JasmineEnv;
}
export interface JasmineCore {
  /** Defines describe, it, expect and the like as globals. */
  boot(): Jasmine;
}

export const isJasmineCore = (x: unknown): x is JasmineCore => typeof x === 'object' && x !== null && 'boot' in x && typeof x.boot === 'function';

const Failures = z.array(z.object({ message: z.string() }));
const Result = z.object({ fullName: z.string(), filename: z.string().nullish(), status: z.string(), failedExpectations: Failures });
const Outcome = z.object({ overallStatus: z.enum(['passed', 'failed']), failedExpectations: Failures });

/** Runs all that is registered, in order. `fileOf` and `nameOf` give what jasmine calls files and specs the names of a report. */
export async function execute(env: JasmineEnv, fileOf: (path: string) => string, nameOf: (name: string) => string): Promise<Spec[]> {
  const specs: Spec[] = [];
  const seen = new Map<string, number>();
  const add = (given: unknown, status: (s: string) => Spec['status'], suffix = '') => {
    const result = Result.parse(given);
    const [file, plain] = [fileOf(result.filename ?? ''), `${nameOf(result.fullName)}${suffix}`];
    const again = (seen.get(`${file} ${plain}`) ?? 0) + 1;
    seen.set(`${file} ${plain}`, again);
    specs.push({ file, name: again > 1 ? `${plain} (${again})` : plain, status: status(result.status), messages: result.failedExpectations.map((f) => f.message) });
  };
  env.configure({ random: false });
  env.addReporter({
    specDone: (result) => add(result, (s) => (s === 'passed' ? 'passed' : s === 'failed' ? 'failed' : 'skipped')),
    suiteDone: (result) => {
      if (Result.parse(result).failedExpectations.length) add(result, () => 'failed', ' (around its specs)');
    },
  });
  const { failedExpectations } = Outcome.parse(await env.execute());
  for (const { message } of failedExpectations) specs.push({ file: '', name: 'outside of all specs', status: 'failed', messages: [message] });
  return specs;
}
