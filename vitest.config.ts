import { fileURLToPath } from 'node:url';
import { defineConfig } from 'vitest/config';

const packages = fileURLToPath(new URL('packages', import.meta.url));

/** Tests run on sources: `@espalier/core` is packages/core/src/index.ts, `@espalier/core/backend` is packages/core/src/backend.ts. */
export default defineConfig(({ mode }) => ({
  resolve: {
    alias: [
      { find: /^@espalier\/([^/]+)$/, replacement: `${packages}/$1/src/index.ts` },
      { find: /^@espalier\/([^/]+)\/(.+)$/, replacement: `${packages}/$1/src/$2.ts` },
    ],
  },
  test: {
    include: ['packages/*/src/**/*.test.ts', 'examples/**/*.test.ts', 'bench/**/*.test.ts', 'scripts/**/*.test.ts'],
    // `npm run test:full` (mode 'full') adds the long ones, *.full.test.ts
    exclude: ['**/node_modules/**', '**/dist/**', ...(mode === 'full' ? [] : ['**/*.full.test.ts'])],
    // one import of TensorFlow.js per thread instead of one per file: tests keep no global state
    pool: 'threads',
    isolate: false,
    testTimeout: 120_000,
    hookTimeout: 120_000,
    reporters: ['default', './scripts/tally-reporter.ts'],
    coverage: { provider: 'v8', include: ['packages/*/src/**/*.ts'] },
  },
}));
