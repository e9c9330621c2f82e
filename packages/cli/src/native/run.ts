import { spawn } from 'node:child_process';
import { accessSync, constants, statSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { Interrupted, reasonOf } from '../errors.ts';

export interface RunOptions {
  readonly cwd: string;
  readonly env: NodeJS.ProcessEnv;
  readonly signal: AbortSignal;
  readonly onText?: (text: string) => void;
}

export interface Ended {
  readonly ok: boolean;
  readonly how: string; // 'code 1', 'signal SIGSEGV', or why it did not start
  readonly out: string; // stdout
  readonly text: string; // stdout and stderr
}

/** Runs a program to its end, whatever that is. @throws Interrupted when the signal stopped it. */
export async function run(command: string, args: readonly string[], { cwd, env, signal, onText }: RunOptions): Promise<Ended> {
  stopIfAsked(signal, command);
  // A group of its own where there are any: a compiler and an install script have children, which must end with them.
  const detached = process.platform !== 'win32';
  const child = spawn(command, args, { cwd, env, detached, stdio: ['ignore', 'pipe', 'pipe'] });
  const stop = () => {
    try {
      if (detached && child.pid !== undefined) process.kill(-child.pid);
      else child.kill();
    } catch {
      // It has ended already.
    }
  };
  signal.addEventListener('abort', stop);
  let [out, text] = ['', ''];
  const take = (chunk: Buffer, fromOut: boolean) => {
    text += chunk.toString();
    if (fromOut) out += chunk.toString();
    onText?.(chunk.toString());
  };
  child.stdout.on('data', (chunk: Buffer) => take(chunk, true));
  child.stderr.on('data', (chunk: Buffer) => take(chunk, false));
  try {
    const how = await new Promise<string>((resolve) => {
      child.once('error', (e) => resolve(`not started: ${reasonOf(e)}`));
      child.once('close', (code, killed) => resolve(killed === null ? `code ${code}` : `signal ${killed}`));
    });
    stopIfAsked(signal, command);
    return { ok: how === 'code 0', how, out, text };
  } finally {
    signal.removeEventListener('abort', stop);
  }
}

/** @throws Interrupted when the signal has been given. */
export function stopIfAsked(signal: AbortSignal, at: string): void {
  if (signal.aborted) throw new Interrupted(`stopped at ${at}; the package is as it was`);
}

/** The last lines of a text, indented for a message. */
export const lastLines = (text: string, most = 12): string =>
  text.trimEnd().split('\n').slice(-most).map((line) => `  ${line}`).join('\n');

/** The program of a name in the folders of PATH; a name with a slash is a file itself. */
export function findProgram(name: string, env: NodeJS.ProcessEnv): string | undefined {
  const files = /[\\/]/.test(name) ? [name] : (env['PATH'] ?? '').split(delimiter).filter(Boolean).map((folder) => join(folder, name));
  return files.find(isProgram);
}

function isProgram(file: string): boolean {
  try {
    accessSync(file, constants.X_OK);
    return statSync(file).isFile();
  } catch {
    return false;
  }
}
