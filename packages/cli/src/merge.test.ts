import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { adapt } from '@espalier/core';
import { selectBackend } from '@espalier/core/backend';
import { batches, openData, featuriserFrom } from '@espalier/data';
import { fromPretrained } from '@espalier/pretrained';
import { disposeModel } from '@espalier/vl-models';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { capturedConsole } from './captured-console.ts';
import { openModel } from './model-directory.ts';
import { runCommand } from './program.ts';
import { logitsOf } from './scoring.ts';

const folder = mkdtempSync(join(tmpdir(), 'espalier-merge-'));
afterAll(() => rmSync(folder, { recursive: true }));
beforeAll(() => selectBackend('cpu'));
const at = (name: string) => join(folder, name);
const run = async (...args: string[]) => {
  const to = capturedConsole();
  const code = await runCommand([...args, '--backend', 'cpu'], to);
  return { code, ...to.printed };
};

describe.each(['lxmert', 'vl-bert', 'visual-bert'])('espalier merge of a %s', (backbone) => {
  it('gives plain weights with the answers of the model', async () => {
    const tiny = ['--size', 'tiny', '--data', 'shapes:24', '--features', 'components', '--limit-train', '32', '--limit-eval', '8', '--epochs', '1', '--lr', '1e-2'];
    const trained = await run('train', '--backbone', backbone, ...tiny, '--plugin', 'lora:{"rank":2}', '--plugin', 'tune:{"preset":"norms"}', '--out', at(backbone));
    expect(trained.err + String(trained.code)).toMatch(/0$/);
    const { code, out, err } = await run('merge', '--model', at(backbone), '--to', at(`${backbone}-merged`), '--json');
    expect(err + String(code)).toMatch(/0$/);
    expect(JSON.parse(out)).toMatchObject({ type: 'merge', plugins: ['lora', 'tune', 'tune#head'], format: 'safetensors', beside: ['config.json', 'answers.json', 'vocab.txt'] });
    expect(readdirSync(at(`${backbone}-merged`)).sort()).toEqual(['answers.json', 'config.json', 'model.safetensors', 'vocab.txt']);

    const opened = await openModel(at(backbone));
    const plain = await fromPretrained(at(`${backbone}-merged`), { load: { head: 'stored' } });
    expect([plain.report.drawn, plain.report.dropped]).toEqual([[], []]);
    expect(JSON.parse(readFileSync(join(at(`${backbone}-merged`), 'answers.json'), 'utf8'))).toEqual(opened.task.answers);
    const data = await openData('shapes:24', { featuriser: featuriserFrom('components'), seed: 0 });
    for await (const batch of batches(data.splits.validation.slice(0, 6), { data, tokenizer: opened.tokens, batchSize: 6 })) {
      const want = await logitsOf(opened.adapted, opened.model, batch);
      const got = await logitsOf(adapt(plain.model, []), plain.model, batch);
      expect(got.length).toBe(6 * opened.task.answers.length);
      got.forEach((x, i) => expect(Math.abs(x - want[i]!)).toBeLessThan(1e-4));
    }
    disposeModel(plain.model.scope);
    opened.dispose();
  });
});

it('says what cannot be merged to', async () => {
  const { code, err } = await run('merge', '--model', at('lxmert'), '--to', at('x.onnx'));
  expect(code).toBe(2);
  expect(err).toContain('files ending in .onnx are not written');
});
