import { describe, expect, it } from 'vitest';
import { docBlocks } from './doc-blocks.ts';
import { checkDocs, docPages } from './docs-check.ts';

const page = (...lines: string[]): Map<string, string> => new Map([['docs/page.md', lines.join('\n')]]);

describe('code in the documentation', () => {
  it('type-checks against the workspace', () => {
    expect(checkDocs(docPages())).toEqual([]);
  });

  it('may import packages of the workspace, TensorFlow.js and Node modules, and await at the top', () => {
    const problems = checkDocs(
      page(
        '```ts',
        "import * as core from '@espalier/core';",
        "import * as tf from '@tensorflow/tfjs';",
        "import { readFile } from 'node:fs/promises';",
        "const text: string = await readFile('x', 'utf8');",
        'const x: tf.Tensor = tf.tensor(text.length);',
        'console.log(core, x);',
        '```',
      ),
    );
    expect(problems).toEqual([]);
  });

  it('is reported by page and line: wrong types, missing names, syntax errors, names of another block, blocks not to be checked', () => {
    const problems = checkDocs(
      page(
        '# Title',
        '```ts',
        "const a: number = 'x';",
        '```',
        '- item',
        '  ```typescript',
        "  import { nothingOfThatName } from '@espalier/core';",
        '  ```',
        '```ts',
        'const = ;',
        '```',
        '```ts',
        'console.log(a);',
        '```',
        '```ts no-check',
        'const b = 1;',
        '```',
      ),
    );
    expect(problems).toEqual([
      "docs/page.md:15: the block is marked 'ts no-check'; every ts block is checked, write ```ts alone",
      "docs/page.md:3: Type 'string' is not assignable to type 'number'.",
      expect.stringMatching(/^docs\/page\.md:7: .*nothingOfThatName/),
      'docs/page.md:10: Variable declaration expected.',
      "docs/page.md:13: Cannot find name 'a'.",
    ]);
  });

  it('leaves other languages alone', () => {
    expect(docBlocks('docs/page.md', '```bash\nnpm start\n```\n````md\n```ts\nnot code\n```\n````')).toEqual([]);
  });

  it('refuses a block that is never closed', () => {
    expect(() => docBlocks('docs/page.md', 'text\n```ts\nconst a = 1;')).toThrow(
      'docs/page.md:2: the block that starts here is not closed; add ```',
    );
  });
});
