import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { EspalierError } from '@espalier/core';
import { TFJS_NODE, type TfjsNode } from '@espalier/core/backend';
import { z } from 'zod';

/** tfjs-node or tfjs-node-gpu as a project has it. */
export interface NativePackage {
  readonly name: TfjsNode;
  readonly directory: string;
  readonly version: string;
  readonly install: string | undefined; // its own install script
  readonly binary: string; // where it looks for its binary, there or not
}

const Manifest = z.object({ version: z.string(), scripts: z.object({ install: z.string().optional() }).default({}) });

/**
 * The package that a project has installed: the one asked for, else the first that a training would take there.
 * @throws EspalierError when there is none, with the command that installs it.
 */
export function findPackage(project: string, wanted?: TfjsNode): NativePackage {
  const require = createRequire(join(project, 'package.json'));
  for (const name of wanted === undefined ? TFJS_NODE : [wanted]) {
    let file: string;
    try {
      file = require.resolve(`@tensorflow/${name}/package.json`);
    } catch {
      continue;
    }
    const { version, scripts } = Manifest.parse(JSON.parse(readFileSync(file, 'utf8')));
    const directory = dirname(file);
    // Every Node from 12.22 on has N-API 8, the newest that these packages know.
    return { name, directory, version, install: scripts.install, binary: join(directory, 'lib', 'napi-v8', 'tfjs_binding.node') };
  }
  const none = wanted === undefined ? `neither ${TFJS_NODE.map((name) => `@tensorflow/${name}`).join(' nor ')} is` : `@tensorflow/${wanted} is not`;
  throw new EspalierError(
    `${none} installed in ${project} or a folder above it. Install it there without its script, then repeat: npm install --ignore-scripts @tensorflow/${wanted ?? 'tfjs-node'}@4.22.0`,
  );
}
