import { existsSync, readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import ts from 'typescript';
import * as z from 'zod';
import { docBlocks, type DocBlock } from './doc-blocks.ts';

const root = fileURLToPath(new URL('..', import.meta.url));
const Manifest = z.object({ name: z.string(), exports: z.record(z.string(), z.unknown()).default({}) });

const files = (folder: string): string[] =>
  existsSync(path.join(root, folder))
    ? readdirSync(path.join(root, folder), { encoding: 'utf8', recursive: true }).map((name) =>
        path.posix.join(folder, name.split(path.sep).join('/')),
      )
    : [];

const packages = (): string[] => readdirSync(path.join(root, 'packages')).map((name) => `packages/${name}`);

/** Every page whose code is checked: README.md, docs/**, packages/<name>/README.md. Path from the root -> text. */
export function docPages(): Map<string, string> {
  const names = [
    'README.md',
    ...files('docs').filter((name) => name.endsWith('.md')),
    ...packages().map((folder) => `${folder}/README.md`),
  ];
  return new Map(
    names.filter((name) => existsSync(path.join(root, name))).map((name) => [name, readFileSync(path.join(root, name), 'utf8')]),
  );
}

/** `@espalier/core/backend` -> packages/core/src/backend.ts for every export of every package: blocks see the sources, built or not. */
function sourcePaths(): Record<string, string[]> {
  const paths: Record<string, string[]> = {};
  for (const folder of packages()) {
    const file = path.join(root, folder, 'package.json');
    if (!existsSync(file)) continue;
    const manifest = Manifest.parse(JSON.parse(readFileSync(file, 'utf8')));
    for (const name of Object.keys(manifest.exports)) {
      paths[path.posix.join(manifest.name, name)] = [path.join(root, folder, 'src', name === '.' ? 'index.ts' : `${name.slice(2)}.ts`)];
    }
  }
  return paths;
}

function compilerOptions(): ts.CompilerOptions {
  const base = ts.getParsedCommandLineOfConfigFile(
    path.join(root, 'tsconfig.node.json'),
    {},
    {
      ...ts.sys,
      onUnRecoverableConfigFileDiagnostic: (problem) => {
        throw new Error(ts.flattenDiagnosticMessageText(problem.messageText, '\n'));
      },
    },
  );
  const { rootDir: _rootDir, outDir: _outDir, tsBuildInfoFile: _buildInfo, declarationMap: _map, ...strict } = base?.options ?? {};
  return {
    ...strict,
    composite: false,
    incremental: false,
    declaration: false,
    noEmit: true,
    moduleDetection: ts.ModuleDetectionKind.Force,
    paths: sourcePaths(),
  };
}

/**
 * Type-checks the `ts` blocks of Markdown pages against the workspace's sources; each block is a module of its own, resolved as if it
 * stood in examples/. Returns `page:line: problem`, an empty list when all is well.
 * @param pages path from the root -> text
 */
export function checkDocs(pages: ReadonlyMap<string, string>): string[] {
  const blocks = [...pages].flatMap(([page, text]) => docBlocks(page, text));
  const noted = blocks
    .filter((block) => block.note)
    .map(
      (block) => `${block.page}:${block.line - 1}: the block is marked 'ts ${block.note}'; every ts block is checked, write \`\`\`ts alone`,
    );
  const sources = new Map<string, DocBlock>(blocks.map((block, i) => [path.join(root, 'examples', '.docs', `${i}.ts`), block]));
  const options = compilerOptions();
  const host = ts.createCompilerHost(options);
  const { fileExists, readFile } = host;
  host.fileExists = (name) => sources.has(path.normalize(name)) || fileExists(name);
  host.readFile = (name) => sources.get(path.normalize(name))?.code ?? readFile(name);
  const program = ts.createProgram([...sources.keys()], options, host);
  const problems = [...sources].flatMap(([name, block]) => {
    const source = program.getSourceFile(name);
    return [...program.getSyntacticDiagnostics(source), ...program.getSemanticDiagnostics(source)].map((problem) => {
      const line = block.line + (source?.getLineAndCharacterOfPosition(problem.start ?? 0).line ?? 0);
      return `${block.page}:${line}: ${ts.flattenDiagnosticMessageText(problem.messageText, '\n')}`;
    });
  });
  const settings =
    blocks.length === 0 ? [] : program.getOptionsDiagnostics().map((problem) => ts.flattenDiagnosticMessageText(problem.messageText, '\n'));
  return [...noted, ...settings, ...problems];
}
