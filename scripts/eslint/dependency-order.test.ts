import { Linter } from 'eslint';
import { parser } from 'typescript-eslint';
import { describe, expect, it } from 'vitest';
import { dependencyOrder } from './dependency-order.js';

const config: Linter.Config = {
  files: ['**/*.ts'],
  languageOptions: { parser },
  plugins: { espalier: { rules: { 'dependency-order': dependencyOrder } } },
  rules: { 'espalier/dependency-order': 'error' },
};

/** The rule's messages for one file's text. */
const lint = (file: string, code: string): string[] =>
  new Linter().verify(code, config, { filename: file }).map((message) => message.message);

describe('espalier/dependency-order', () => {
  it.each([
    ['packages/lora/src/index.ts', "import { weight } from '@espalier/core';"],
    ['packages/lora/src/lora.test.ts', "import { testPlugin } from '@espalier/testing';"],
    ['packages/core/src/golden.test.ts', "import { readFileSync } from 'node:fs';"],
    ['packages/core/src/step.ts', "import { random } from './random.ts';\nimport * as tf from '@tensorflow/tfjs';"],
    ['packages/vl-models/src/lxmert.ts', "import { adapt } from '@espalier/core';"],
    ['packages/data/src/image.ts', "import { readFileSync } from 'node:fs';\nimport type { VqaExamples } from '@espalier/vl-models';"],
    ['packages/cli/src/main.ts', "export { lora } from '@espalier/lora';\nconst data = await import('@espalier/data');"],
    ['bench/hooks.ts', "import { fit } from '@espalier/train';"],
    ['scripts/anything.ts', "import { x } from '../packages/core/src/index.ts';"],
  ])('accepts what %s imports', (file, code) => {
    expect(lint(file, code)).toEqual([]);
  });

  it.each([
    [
      'packages/core/src/a.ts',
      "import { lora } from '@espalier/lora';",
      "@espalier/core may not import '@espalier/lora': it may import backend-onnx",
    ],
    ['packages/core/src/a.test.ts', "import { tiny } from '@espalier/testing';", "may not import '@espalier/testing'"],
    ['packages/lora/src/a.ts', "import { tune } from '@espalier/tune';", 'it may import core (and testing in tests)'],
    ['packages/lora/src/a.ts', "import { testPlugin } from '@espalier/testing';", "may not import '@espalier/testing'"],
    [
      'packages/newcomer/src/a.ts',
      "import { vlBert } from '@espalier/vl-models';",
      "@espalier/newcomer may not import '@espalier/vl-models'",
    ],
    ['packages/vl-models/src/a.ts', "export type { VqaData } from '@espalier/data';", "may not import '@espalier/data'"],
    ['packages/vl-models/src/a.ts', "export * from '@espalier/data/batches';", "may not import '@espalier/data/batches'"],
    ['packages/data/src/a.ts', "const train = await import('@espalier/train');", "may not import '@espalier/train'"],
    ['packages/train/src/a.ts', "type Cli = import('@espalier/cli').Cli;", "may not import '@espalier/cli'"],
    ['packages/core/src/a.ts', "import { readFileSync } from 'node:fs';", "imports no Node module: 'node:fs'"],
    ['packages/tune/src/a.ts', "import path from 'path';", "imports no Node module: 'path'"],
    ['packages/testing/src/a.ts', "import 'node:crypto';", "imports no Node module: 'node:crypto'"],
    ['packages/lora/src/a.ts', "import { plan } from '../../core/src/plan.ts';", 'leaves packages/lora'],
  ])('reports in %s: %s', (file, code, message) => {
    const messages = lint(file, code);
    expect(messages).toHaveLength(1);
    expect(messages[0]).toContain(message);
  });
});
