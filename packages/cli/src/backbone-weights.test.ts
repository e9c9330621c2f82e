import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { CheckpointError, readSafetensors, weightsOf, writeSafetensors } from '@espalier/core';
import { selectBackend } from '@espalier/core/backend';
import { wordPiece } from '@espalier/data';
import { withVocabulary } from '@espalier/pretrained';
import { disposeModel } from '@espalier/vl-models';
import * as tf from '@tensorflow/tfjs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { buildBackbone, demandOf, tokenizerOf } from './backbone-model.ts';
import { findBackbone } from './backbone-weights.ts';

const folder = mkdtempSync(join(tmpdir(), 'espalier-weights-'));
afterAll(() => rmSync(folder, { recursive: true }));
beforeAll(() => selectBackend('cpu'));
const fixture = fileURLToPath(new URL('../../vl-models/fixtures/lxmert-tiny', import.meta.url));
const vocabulary = '[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nred\n';

/** A directory with some of the fixture's files and others. */
function directory(name: string, copied: readonly string[], written: Readonly<Record<string, string | Uint8Array>> = {}): string {
  const at = join(folder, name);
  mkdirSync(at);
  for (const file of copied) copyFileSync(join(fixture, file), join(at, file));
  for (const [file, content] of Object.entries(written)) writeFileSync(join(at, file), content);
  return at;
}

describe('a vocabulary of both cases', () => {
  const pieces = `${vocabulary}Red\n`;
  const red = async (weights: string, file?: string) => {
    const found = await findBackbone({ weights, vocabulary: file });
    const { tokens, text } = tokenizerOf(found, () => 'unused');
    expect(wordPiece(text).encode('Red')).toEqual(tokens.encode('Red')); // the text is what a trained model is saved with
    return tokens.encode('Red');
  };

  it('is that of tokenizer_config.json beside the weights, and beside the file that is named', async () => {
    const weights = directory('cased', ['config.json', 'model.safetensors'], { 'vocab.txt': pieces, 'tokenizer_config.json': '{"do_lower_case":false}' });
    expect(await red(weights)).toEqual([6]);
    const plain = directory('plain', ['config.json', 'model.safetensors'], { 'vocab.txt': pieces });
    expect(await red(plain)).toEqual([5]);
    expect(await red(plain, join(weights, 'vocab.txt'))).toEqual([6]);
  });
});

describe('finding a backbone', () => {
  it('reads kind and configuration from config.json', async () => {
    const found = await findBackbone({ weights: directory('whole', ['config.json', 'model.safetensors'], { 'vocab.txt': vocabulary }) });
    expect(found).toMatchObject({ kind: { name: 'lxmert' }, config: { hidden_size: 16, l_layers: 2 }, weights: join(folder, 'whole', 'model.safetensors'), recorded: join(folder, 'whole'), by: 'lxmert of whole' });
    expect(demandOf(found)).toEqual({ size: 12, by: 'lxmert of whole (visual_feat_dim)' });
    const { tokens } = tokenizerOf(found, () => 'unused');
    expect(withVocabulary(found, tokens)).toMatchObject({ vocab_size: 110, cls: 2, sep: 3 });
  });

  it('takes a file with its neighbours, and a size where there is no configuration', async () => {
    expect(await findBackbone({ weights: join(fixture, 'model.safetensors') })).toMatchObject({ kind: { name: 'lxmert' }, weights: join(fixture, 'model.safetensors') });
    const bare = directory('bare', ['model.safetensors']);
    await expect(findBackbone({ weights: bare })).rejects.toThrow(/bare\/config\.json is missing: .* name the backbone and its size \(--backbone and --size: tiny, small or base\)/);
    const sized = await findBackbone({ weights: bare, backbone: 'lxmert', size: 'tiny' });
    expect(sized.config).toMatchObject({ num_qa_labels: 7, l_layers: 1 }); // as many answers as the file has
    await expect(buildBackbone({ ...sized, seed: 0 })).rejects.toThrow(/model\.safetensors has 58 arrays that a lxmert does not know: .* Check that configuration and weights belong together/);
  });

  it('draws a configuration without arrays from the seed', async () => {
    const found = await findBackbone({ weights: directory('config', ['config.json']) });
    expect([found.weights, found.recorded]).toEqual([undefined, undefined]);
    const words = async (seed: number) => {
      const { model } = await buildBackbone({ ...found, config: withVocabulary(found, wordPiece(vocabulary)), seed });
      const [table] = weightsOf(model.scope).flatMap((at) => (at.path === 'text.embed.words' && 'table' in at.pretrained ? [at.pretrained.table] : []));
      const values = table instanceof tf.Tensor ? Array.from(table.dataSync()) : [];
      disposeModel(model.scope);
      return values;
    };
    expect(await words(1)).toHaveLength(6 * 16);
    expect(await words(1)).toEqual(await words(1));
    expect(await words(1)).not.toEqual(await words(2));
  });

  it('refuses what does not fit together', async () => {
    await expect(findBackbone({ weights: fixture, backbone: 'vl-bert' })).rejects.toThrow(/config\.json is of a 'lxmert', but the backbone is to be 'vl-bert'/);
    await expect(findBackbone({ weights: fixture, size: 'tiny' })).rejects.toThrow(/size 'tiny' of lxmert has hidden_size 64, but .*config\.json says 16\. Leave the size out/);
    for (const file of ['runs/vqa.th', 'runs/x.json', 'runs/a.pth']) await expect(findBackbone({ weights: file })).rejects.toThrow(`weights '${file}': there is no such directory or file`);
    await expect(findBackbone({ weights: directory('bert', [], { 'config.json': '{"model_type":"bert"}' }) })).rejects.toThrow(/bert\/config\.json is of a BERT.* \(--backbone: vl-bert, lxmert, visual-bert\)/);
    await expect(findBackbone({ weights: directory('gpt', [], { 'config.json': '{"model_type":"gpt2"}' }) })).rejects.toThrow(/gpt\/config\.json is of a 'gpt2', which is not supported: model_type is one of vl_bert/);
    await expect(findBackbone({ weights: 'lxmert-smal' })).rejects.toThrow(/weights 'lxmert-smal': there is no such directory or file.*A directory of weights holds config\.json/s);
    const built = async (name: string, written: Record<string, string | Uint8Array>) => buildBackbone({ ...(await findBackbone({ weights: directory(name, ['config.json'], written) })), seed: 0 });
    await expect(built('pickle', { 'pytorch_model.bin': 'x' })).rejects.toThrow(/pytorch_model\.bin: is text/);
    await expect(built('cut', { 'model.safetensors': readFileSync(join(fixture, 'model.safetensors')).subarray(0, 5000) })).rejects.toThrow(CheckpointError);
    await expect(findBackbone({ weights: fixture, vocabulary: join(folder, 'none.txt') })).rejects.toThrow(/--vocabulary .*none\.txt cannot be read/);
    await expect(findBackbone({ weights: directory('odd', [], { 'config.json': '{"model_type":"lxmert","hidden_size":"wide"}' }) })).rejects.toThrow(/odd\/config\.json: 'hidden_size': .*expected number/);
    const without = await findBackbone({ weights: fixture });
    expect(() => tokenizerOf(without, () => vocabulary)).toThrow(/there is no vocab\.txt .* beside .*model\.safetensors/);
    const many = wordPiece(vocabulary + Array.from({ length: 200 }, (_, i) => `w${i}`).join('\n'));
    expect(() => withVocabulary(without, many)).toThrow(/has 206 word pieces, .* a table of 110 \(vocab_size\)/);
  });

  it('draws a missing answer head, and nothing else', async () => {
    const { tensors } = readSafetensors(readFileSync(join(fixture, 'model.safetensors')), 'model');
    const without = (pattern: RegExp) => writeSafetensors(new Map([...tensors].filter(([name]) => !pattern.test(name))));
    const headless = await findBackbone({ weights: directory('headless', ['config.json'], { 'model.safetensors': without(/^answer_head\./) }) });
    const { model, report } = await buildBackbone({ ...headless, seed: 0 });
    expect(report?.drawn).toHaveLength(6);
    disposeModel(model.scope);
    await expect(buildBackbone({ ...headless, weights: undefined, seed: 0, head: 'stored' })).rejects.toThrow('--head stored: there are no weights, so no answer head is stored');
    const anew = await buildBackbone({ ...(await findBackbone({ weights: fixture })), seed: 0, head: 'drawn' });
    expect(anew.report?.drawn).toEqual(expect.arrayContaining(['head.up.kernel', 'head.down.bias']));
    disposeModel(anew.model.scope);
    await expect(buildBackbone({ ...headless, seed: 0, head: 'stored' })).rejects.toThrow(/headless\/model\.safetensors lacks 6 arrays of a lxmert: 'answer_head/);
    const torn = await findBackbone({ weights: directory('torn', ['config.json'], { 'model.safetensors': without(/x_layers\.1/) }) });
    await expect(buildBackbone({ ...torn, seed: 0 })).rejects.toThrow(/torn\/model\.safetensors lacks \d+ arrays/);
  });
});
