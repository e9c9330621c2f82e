import { builtinModules } from 'node:module';
import path from 'node:path';

/** Packages in dependency order; each imports only what stands before it. `plugin` is every folder of packages/ not named here. */
const order = [
  'backend-onnx',
  'core',
  'checkpoints',
  'testing',
  'plugin',
  'vl-models',
  'data',
  'pretrained',
  'train',
  'cli',
  'create-espalier-plugin',
  'examples',
  'bench',
];
/** Packages that run in browsers too: no `node:*`. */
const portable = new Set(['core', 'checkpoints', 'testing', 'plugin', 'vl-models']);
const builtins = new Set(builtinModules);

/** @param {string} name */
const kindOf = (name) => (order.includes(name) ? name : 'plugin');

/** What a package of one kind may import of ours, tests aside. @param {string} kind */
function allowed(kind) {
  if (kind === 'plugin') return ['core'];
  return order.slice(0, order.indexOf(kind));
}

/**
 * The package a file belongs to, as `{ name, folder }`, or undefined outside of packages/, examples/ and bench/.
 * @param {string} file relative to the root, with forward slashes
 */
function packageOf(file) {
  const [top, name] = file.split('/');
  if (top === 'packages' && name) return { name, folder: `packages/${name}` };
  return top === 'examples' || top === 'bench' ? { name: top, folder: top } : undefined;
}

/**
 * Why `file` may not import `specifier`, or undefined when it may.
 * @param {string} file @param {string} specifier
 */
export function forbiddenImport(file, specifier) {
  const from = packageOf(file);
  if (!from) return undefined;
  const kind = kindOf(from.name);
  const isTest = file.endsWith('.test.ts');
  if (specifier.startsWith('.')) {
    const target = path.posix.join(path.posix.dirname(file), specifier);
    if (target.startsWith(`${from.folder}/`) || (isTest && target.startsWith('scripts/'))) return undefined;
    return `'${specifier}' leaves ${from.folder}: import another package by its name, @espalier/…`;
  }
  if (specifier.startsWith('node:') || builtins.has(specifier)) {
    if (!portable.has(kind) || isTest) return undefined;
    return `@espalier/${from.name} runs in browsers too and imports no Node module: '${specifier}' belongs in data, train or cli`;
  }
  const name = /^@espalier\/([^/]+)/.exec(specifier)?.[1];
  if (!name || name === from.name) return undefined;
  const may = allowed(kind);
  if (may.includes(kindOf(name)) || (isTest && name === 'testing' && order.indexOf(kind) > order.indexOf('testing'))) return undefined;
  const list = may.map((one) => (one === 'plugin' ? 'the plugins' : one)).join(', ') || 'no package of this workspace';
  return `@espalier/${from.name} may not import '${specifier}': it may import ${list}${kind === 'plugin' ? ' (and testing in tests)' : ''}`;
}

/** @type {import('eslint').Rule.RuleModule} */
export const dependencyOrder = {
  meta: {
    type: 'problem',
    docs: { description: 'a package imports only packages that stand before it, and portable packages import no Node module' },
    schema: [],
  },
  create(context) {
    const file = path.relative(context.cwd, context.filename).split(path.sep).join('/');
    /** @param {import('eslint').Rule.Node} node @param {unknown} specifier */
    const check = (node, specifier) => {
      const message = typeof specifier === 'string' ? forbiddenImport(file, specifier) : undefined;
      if (message) context.report({ node, message });
    };
    return {
      ImportDeclaration: (node) => check(node, node.source.value),
      ExportNamedDeclaration: (node) => check(node, node.source?.value),
      ExportAllDeclaration: (node) => check(node, node.source.value),
      ImportExpression: (node) => check(node, node.source.type === 'Literal' ? node.source.value : undefined),
      // `import('…').Type`, a node of the TypeScript parser
      /** @param {import('eslint').Rule.Node & { source?: { value?: unknown } }} node */
      TSImportType: (node) => check(node, node.source?.value),
    };
  },
};
