import { existsSync, mkdirSync, readdirSync, renameSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { EspalierError } from '@espalier/core';
import { reasonOf } from '../errors.ts';
import type { NativePackage } from './package.ts';
import { lastLines, run, type RunOptions } from './run.ts';
import type { Wheel } from './wheel.ts';

export interface BuildParts {
  readonly wheel: Wheel;
  readonly headers: string; // Node's
  readonly compiler: readonly [string, ...string[]];
}

/**
 * Compiles the package's binding sources against a wheel and puts the binary in its place once `verify` has found that it
 * works; until then, and if it does not, whatever binary was there stays.
 * @throws EspalierError when it does not compile; what `verify` throws when it does not work.
 */
export async function buildBinary<T>(at: NativePackage, parts: BuildParts, options: RunOptions, verify: (binary: string) => Promise<T>): Promise<T> {
  const sources = sourcesOf(at);
  // In the same folder, so that the last step is one rename.
  const candidate = join(dirname(at.binary), `.tfjs_binding-${process.pid}.node`);
  try {
    mkdirSync(dirname(candidate), { recursive: true });
  } catch (e) {
    throw new EspalierError(`the binary's folder ${dirname(candidate)} cannot be made (${reasonOf(e)}): run this as a user who may write there`);
  }
  try {
    await compile(sources, candidate, parts, options);
    const verified = await verify(candidate);
    renameSync(candidate, at.binary);
    return verified;
  } finally {
    rmSync(candidate, { force: true });
  }
}

function sourcesOf({ name, version, directory }: NativePackage): string[] {
  const folder = join(directory, 'binding');
  const sources = existsSync(folder) ? readdirSync(folder).filter((file) => file.endsWith('.cc')).sort() : [];
  if (!sources.length) throw new EspalierError(`@tensorflow/${name} ${version} has no binding sources: expected *.cc in ${folder}, which 4.22.0 has. Install that version, or take the package's own binary: --vendor`);
  return sources.map((file) => join(folder, file));
}

async function compile(sources: readonly string[], out: string, { wheel, headers, compiler }: BuildParts, options: RunOptions): Promise<void> {
  const [command, ...before] = compiler;
  const { ok, how, text } = await run(
    command,
    [
      ...before, '-std=c++17', '-O2', '-fPIC', '-shared', '-DNAPI_VERSION=8', '-DNODE_GYP_MODULE_NAME=tfjs_binding',
      `-I${headers}`, `-I${wheel.include}`, ...sources, '-o', out, ...wheel.libraries,
      '-Xlinker', '-rpath', '-Xlinker', wheel.directory,
    ],
    options,
  );
  if (!ok || !existsSync(out))
    throw new EspalierError(
      `${compiler.join(' ')} did not compile ${sources.join(' ')} against ${wheel.directory} and the headers ${headers}: ${ok ? 'it wrote no binary' : `it ended with ${how}`}. Its last lines:\n${lastLines(text)}\nExpected a compiler of C++17 and a TensorFlow that these sources fit (2.21 does): try another compiler with CXX or another wheel with --tensorflow, or take the package's own binary: --vendor`,
    );
}
