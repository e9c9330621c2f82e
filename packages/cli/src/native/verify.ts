import { fork } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { EspalierError } from '@espalier/core';
import { z } from 'zod';
import type { NativePackage } from './package.ts';
import { lastLines, stopIfAsked, type RunOptions } from './run.ts';

const program = fileURLToPath(new URL('../../dist/native/probe.js', import.meta.url));
const TRIAL = 'the trial of the new binary';
const Found = z.object({ backend: z.string(), tensorflow: z.string(), gpu: z.boolean(), values: z.array(z.array(z.number())) });
const Report = z.union([Found, z.object({ error: z.string() })]);

/** [[1, 2], [3, 4]] times [[5, 6], [7, 8]], and the gradients of the sum of its squares: whole numbers, exact in float32. */
const KNOWN = [[19, 22, 43, 50], [454, 618, 1030, 1402], [296, 344, 420, 488]];

export interface Verified {
  readonly tensorflow: string; // version
  readonly device: 'CPU' | 'GPU';
}

/**
 * Starts the package with a binary, in a process of its own and as a training in the project would, and compares a matrix
 * product and its gradient with known numbers.
 * @throws EspalierError when the binary does not load or computes something else.
 */
export async function verifyBinary(at: NativePackage, binary: string, { cwd, env, signal }: RunOptions): Promise<Verified> {
  stopIfAsked(signal, TRIAL);
  const child = fork(program, [at.name, at.directory, binary], { cwd, env: { TF_CPP_MIN_LOG_LEVEL: '2', ...env }, execArgv: [], stdio: ['ignore', 'pipe', 'pipe', 'ipc'] });
  const stop = () => child.kill();
  signal.addEventListener('abort', stop);
  const [text, sent]: [string[], unknown[]] = [[], []];
  for (const stream of [child.stdout, child.stderr]) stream?.on('data', (chunk: Buffer) => text.push(chunk.toString()));
  child.on('message', (message) => sent.push(message));
  try {
    const how = await new Promise<string>((resolve, reject) => child.once('error', reject).once('close', (code, killed) => resolve(killed === null ? `code ${code}` : `signal ${killed}`)));
    stopIfAsked(signal, TRIAL);
    const report = Report.safeParse(sent[0]).data ?? { error: `its process ended with ${how}` };
    if ('error' in report) throw new EspalierError(`the new binary of @tensorflow/${at.name} in ${at.directory} does not work: ${[report.error, lastLines(text.join(''))].join('\n').trimEnd()}\n${remedy(report.error)}`);
    if (report.backend !== 'tensorflow' || JSON.stringify(report.values) !== JSON.stringify(KNOWN))
      throw new EspalierError(
        `the new binary of @tensorflow/${at.name} in ${at.directory} computes wrong numbers with TensorFlow ${report.tensorflow}, on the backend '${report.backend}': expected a matrix product and its gradients ${JSON.stringify(KNOWN)}, found ${JSON.stringify(report.values)}. Take another TensorFlow: --tensorflow DIR or --vendor`,
      );
    return { tensorflow: report.tensorflow, device: report.gpu ? 'GPU' : 'CPU' };
  } finally {
    signal.removeEventListener('abort', stop);
  }
}

const remedy = (error: string): string =>
  /Cannot find module|is not there/.test(error)
    ? 'A package that it needs is missing: install it again.'
    : 'Expected a TensorFlow for this machine and a compiler that fits it: try another wheel (--tensorflow DIR), another compiler (CXX), or the other way (with or without --vendor).';
