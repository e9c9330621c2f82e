import { existsSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { delimiter, dirname, join } from 'node:path';
import { EspalierError } from '@espalier/core';
import type { NativePackage } from './package.ts';
import { lastLines, run, type RunOptions } from './run.ts';

/**
 * Runs the package's own install script in its folder: it downloads TensorFlow and a binary. What it replaces is put aside
 * first, and back when the script fails or `verify` finds that the result does not work.
 * @throws EspalierError when the script fails; what `verify` throws when the result does not work.
 */
export async function installVendor<T>(at: NativePackage, options: RunOptions, verify: (binary: string) => Promise<T>): Promise<T> {
  const args = scriptOf(at);
  const manifest = join(at.directory, 'package.json');
  const before = readFileSync(manifest); // the script rewrites it while it runs
  const restore = putAside(['lib', 'deps'].map((name) => join(at.directory, name)));
  let done = false;
  try {
    const env = { ...options.env, PATH: [...preGyp(at), options.env['PATH'] ?? ''].join(delimiter) };
    const { ok, how, text } = await run(process.execPath, args, { ...options, cwd: at.directory, env });
    if (!ok || !existsSync(at.binary))
      throw new EspalierError(
        `the install script of @tensorflow/${at.name} (node ${args.join(' ')}, in ${at.directory}) ${ok ? `wrote no ${at.binary}` : `ended with ${how}`}. Its last lines:\n${lastLines(text)}\nIt downloads from its vendor's host and needs the network; without it, build against an installed TensorFlow: leave out --vendor`,
      );
    const verified = await verify(at.binary);
    done = true;
    return verified;
  } finally {
    restore(!done);
    if (!done) writeFileSync(manifest, before);
  }
}

/** The words after `node` of the install script. */
function scriptOf({ name, directory, install }: NativePackage): string[] {
  const [command, ...args] = (install ?? '').split(/\s+/).filter(Boolean);
  if (command === 'node' && args.length) return args;
  throw new EspalierError(`${join(directory, 'package.json')} has ${install === undefined ? 'no install script' : `the install script '${install}'`}: expected 'node SCRIPT', as of @tensorflow/${name} 4.22.0. Install that version`);
}

/** The folders of the program node-pre-gyp, which npm puts on PATH for an install script. */
function preGyp({ directory }: NativePackage): string[] {
  try {
    const home = dirname(createRequire(join(directory, 'package.json')).resolve('@mapbox/node-pre-gyp/package.json'));
    return [join(home, 'bin'), join(home, '..', '..', '.bin')];
  } catch {
    throw new EspalierError(`@mapbox/node-pre-gyp is not there, which ${directory} needs to install its binary: install the package again`);
  }
}

/** Renames folders out of the way; the result removes what has come in their place and puts them back, or drops them for good. */
function putAside(folders: readonly string[]): (back: boolean) => void {
  const moved = folders.filter((folder) => existsSync(folder));
  const aside = (folder: string) => `${folder}.before-${process.pid}`;
  for (const folder of moved) renameSync(folder, aside(folder));
  return (back) => {
    if (back) for (const folder of folders) rmSync(folder, { recursive: true, force: true });
    for (const folder of moved) {
      if (back) renameSync(aside(folder), folder);
      else rmSync(aside(folder), { recursive: true });
    }
  };
}
