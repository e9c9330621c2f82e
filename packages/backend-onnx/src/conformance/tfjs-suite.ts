import { fork } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { z } from 'zod';

/** A backend that the suite runs on: ours in both modes, and the cpu backend to compare with. */
export const targets = ['cpu', 'lazy', 'eager'] as const;
export type Target = (typeof targets)[number];

const Spec = z.object({
  file: z.string(), // within tfjs-core's dist
  name: z.string(), // unique within its file
  status: z.enum(['passed', 'failed', 'skipped']),
  messages: z.array(z.string()), // why it failed
});
export type Spec = z.infer<typeof Spec>;

/** What one run of the suite found. */
export const SuiteRun = z.object({
  version: z.string(), // of tfjs-core
  files: z.array(z.string()),
  specs: z.array(Spec),
  computed: z.array(z.string()), // kernels that ONNX Runtime computed
});
export type SuiteRun = z.infer<typeof SuiteRun>;

const child = fileURLToPath(new URL('../../dist/conformance/tfjs-suite-child.js', import.meta.url));

/**
 * Runs tfjs-core's own tests on a backend, in a process of its own: they reset the engine and replace globals.
 * @throws Error when the process ends without a result.
 */
export async function runSuite(target: Target): Promise<SuiteRun> {
  const running = fork(child, [target], { execArgv: [], stdio: ['ignore', 'ignore', 'pipe', 'ipc'] });
  let report: unknown;
  let errors = '';
  running.on('message', (message) => (report = message));
  running.stderr?.on('data', (chunk: Buffer) => (errors = `${errors}${chunk.toString()}`.slice(-4000)));
  const code = await new Promise<number | null>((resolve, reject) => running.once('error', reject).once('close', resolve));
  if (code !== 0 || report === undefined) throw new Error(`the suite on ${target} ended with code ${code} (is the package built?): ${errors}`);
  return SuiteRun.parse(report);
}
