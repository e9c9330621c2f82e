import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { EspalierError } from '@espalier/core';
import { findProgram } from './run.ts';

const COMPILERS = ['c++', 'g++', 'clang++'];

/** A C++ compiler as words: `$CXX`, which may hold arguments, else the first on PATH. @throws EspalierError when there is none. */
export function findCompiler(env: NodeJS.ProcessEnv): readonly [string, ...string[]] {
  const [asked, ...args] = (env['CXX'] ?? '').split(/\s+/).filter(Boolean);
  for (const name of asked === undefined ? COMPILERS : [asked]) {
    const found = findProgram(name, env);
    if (found !== undefined) return [found, ...args];
  }
  const found = asked === undefined ? `CXX is not set, and none of ${COMPILERS.join(', ')} is on PATH` : `CXX is '${env['CXX']}', and '${asked}' is no program on PATH`;
  throw new EspalierError(`no C++ compiler: ${found}. Install one (Debian, Ubuntu: apt-get install g++; Fedora: dnf install gcc-c++) or name it in CXX; or take the package's own binary: --vendor`);
}

/**
 * The folder of Node's headers: beside the running Node, else of the npm package node-api-headers in the project.
 * @throws EspalierError when neither is there.
 */
export function findNodeHeaders(execPath: string, project: string): string {
  const beside = join(dirname(execPath), '..', 'include', 'node');
  const folders = [beside, headersPackage(project)].filter((folder) => folder !== undefined);
  const found = folders.find((folder) => existsSync(join(folder, 'node_api.h')));
  if (found !== undefined) return found;
  throw new EspalierError(
    `no headers of Node: expected node_api.h in ${beside} (beside ${execPath}) or in the package node-api-headers, which ${project} does not have. Install them there, then repeat: npm install node-api-headers`,
  );
}

function headersPackage(project: string): string | undefined {
  try {
    return join(dirname(createRequire(join(project, 'package.json')).resolve('node-api-headers/package.json')), 'include');
  } catch {
    return undefined;
  }
}
