import js from '@eslint/js';
import { defineConfig } from 'eslint/config';
import tseslint from 'typescript-eslint';
import { dependencyOrder } from './scripts/eslint/dependency-order.js';

const nodeGlobals = [
  'process',
  'console',
  'URL',
  'fetch',
  'performance',
  'setTimeout',
  'clearTimeout',
  'Buffer',
  'TextEncoder',
  'TextDecoder',
  'AbortController',
];
const testFunctions = ['it', 'test', 'describe'];
const switchedOff = testFunctions.flatMap((object) =>
  ['only', 'skip', 'todo'].map((property) => ({ object, property, message: 'every test runs; one that needs a resource uses skipIf' })),
);

export default defineConfig(
  { ignores: ['**/node_modules', '**/dist', '.cache', 'out', 'coverage'] },
  { linterOptions: { noInlineConfig: true } },
  js.configs.recommended,
  tseslint.configs.recommended,
  {
    files: ['**/*.ts'],
    plugins: { espalier: { rules: { 'dependency-order': dependencyOrder } } },
    rules: {
      'espalier/dependency-order': 'error',
      '@typescript-eslint/no-explicit-any': 'error',
      '@typescript-eslint/no-unused-vars': ['error', { argsIgnorePattern: '^_', varsIgnorePattern: '^_', ignoreRestSiblings: true }],
      'max-lines': ['error', { max: 400 }],
      'no-restricted-properties': [
        'error',
        {
          object: 'Math',
          property: 'random',
          message: 'randomness is keyed by (seed, step, sample, place): see packages/core/src/random.ts',
        },
        ...switchedOff,
      ],
      'no-restricted-syntax': [
        'error',
        {
          selector: 'TSAsExpression > TSAsExpression.expression > TSUnknownKeyword',
          message: 'parse the value with a schema or a type guard',
        },
      ],
    },
  },
  {
    files: ['packages/*/src/**/*.ts', 'examples/**/*.ts', 'bench/**/*.ts'],
    rules: {
      'no-restricted-exports': [
        'error',
        { restrictDefaultExports: { direct: true, named: true, defaultFrom: true, namedFrom: true, namespaceFrom: true } },
      ],
    },
  },
  {
    files: ['**/*.{js,mjs}'],
    languageOptions: { globals: Object.fromEntries(nodeGlobals.map((name) => [name, 'readonly'])) },
  },
);
