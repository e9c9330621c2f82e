import { existsSync } from 'node:fs';
import { EspalierError } from '@espalier/core';
import type { TfjsNode } from '@espalier/core/backend';
import { Interrupted } from '../errors.ts';
import { buildBinary, type BuildParts } from './build.ts';
import { findPackage } from './package.ts';
import type { RunOptions } from './run.ts';
import { findCompiler, findNodeHeaders } from './tools.ts';
import { installVendor } from './vendor.ts';
import { verifyBinary, type Verified } from './verify.ts';
import { findWheel } from './wheel.ts';

export interface NativeOptions {
  readonly project: string;
  readonly package?: TfjsNode | undefined;
  readonly tensorflow?: string | undefined;
  readonly vendor: boolean;
  readonly env: NodeJS.ProcessEnv;
  readonly execPath: string;
  readonly platform: NodeJS.Platform;
  readonly signal: AbortSignal;
  readonly note: (text: string) => void;
}

/** A binary that has been tried. */
export interface NativeResult extends Verified {
  readonly type: 'native';
  readonly package: string;
  readonly version: string;
  readonly binary: string;
  readonly built: { readonly wheel: string; readonly headers: string; readonly compiler: string } | undefined; // undefined: the vendor's
}

/**
 * Gives the project's tfjs-node a binary that works: built against a TensorFlow wheel, or the vendor's. Nothing is
 * replaced before the new one has been tried, or it is put back.
 * @throws EspalierError saying what is missing or failed, and the remedy.
 */
export async function makeNative({ project, env, signal, note, ...asked }: NativeOptions): Promise<NativeResult> {
  const at = findPackage(project, asked.package);
  const had = existsSync(at.binary);
  const options: RunOptions = { cwd: project, env, signal };
  const verify = (binary: string) => {
    note('trying it: a matrix product and its gradient, in a process of its own\n');
    return verifyBinary(at, binary, options);
  };
  const done = { type: 'native', package: `@tensorflow/${at.name}`, version: at.version, binary: at.binary } as const;
  try {
    if (asked.vendor) {
      note(`running the install script of ${done.package} ${at.version} in ${at.directory}\n`);
      return { ...done, ...(await installVendor(at, { ...options, onText: note }, verify)), built: undefined };
    }
    const parts = await findParts(asked, options);
    const built = { wheel: parts.wheel.directory, headers: parts.headers, compiler: parts.compiler.join(' ') };
    note(`compiling the binding of ${done.package} ${at.version} with ${built.compiler} against ${built.wheel}\n`);
    return { ...done, ...(await buildBinary(at, parts, options, verify)), built };
  } catch (e) {
    throw had && e instanceof EspalierError && !(e instanceof Interrupted) ? new EspalierError(`${e.message}\nThe binary that was there is as it was: ${at.binary}`, { cause: e }) : e;
  }
}

async function findParts({ tensorflow, execPath, platform }: Pick<NativeOptions, 'tensorflow' | 'execPath' | 'platform'>, options: RunOptions): Promise<BuildParts> {
  if (platform !== 'linux') throw new EspalierError(`building against a TensorFlow wheel is known to work on Linux only, and this is ${platform}: take the package's own binary with --vendor`);
  const compiler = findCompiler(options.env);
  const headers = findNodeHeaders(execPath, options.cwd);
  return { compiler, headers, wheel: await findWheel(tensorflow, options) };
}
