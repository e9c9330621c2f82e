import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { adapt, readSafetensors, tensorsIn, writeSafetensors, type StoredTensor } from '@espalier/core';
import { tokenizerJson } from '@espalier/data';
import { useCpu, useOnnx } from '@espalier/testing';
import { backbone, disposeModel } from '@espalier/vl-models';
import * as tf from '@tensorflow/tfjs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { findModel, fromPretrained, storedAnswers, type PretrainedOptions } from './index.ts';

const models = fileURLToPath(new URL('../../vl-models/fixtures/', import.meta.url));
const files = fileURLToPath(new URL('../../checkpoints/fixtures/', import.meta.url));
const bytes = (text: string) => new TextEncoder().encode(text);
let root: string;
beforeAll(() => {
  root = mkdtempSync(join(tmpdir(), 'espalier-pretrained-'));
});
afterAll(() => rmSync(root, { recursive: true, force: true }));

/** A directory of a configuration and some files. */
function directory(name: string, ...contents: readonly (readonly [as: string, from: string | Uint8Array])[]): string {
  const folder = join(root, name);
  mkdirSync(folder, { recursive: true });
  for (const [as, from] of contents) {
    if (typeof from === 'string') copyFileSync(from, join(folder, as));
    else writeFileSync(join(folder, as), from);
  }
  return folder;
}

/** A fixture's arrays in two shards, with their index. */
function shards(file: string): (readonly [string, Uint8Array])[] {
  const all = [...readSafetensors(readFileSync(file), file).tensors];
  const half = all.length >> 1;
  const parts = [all.slice(0, half), all.slice(half)].map((part, i): [string, [string, StoredTensor][]] => [`model-0000${i + 1}-of-00002.safetensors`, part]);
  const weight_map = Object.fromEntries(parts.flatMap(([name, part]) => part.map(([key]) => [key, name])));
  return [
    ...parts.map(([name, part]): [string, Uint8Array] => [name, writeSafetensors(new Map(part))]),
    ['model.safetensors.index.json', new TextEncoder().encode(JSON.stringify({ metadata: {}, weight_map }))],
  ];
}

const config = (kind: string) => ['config.json', join(models, kind, 'config.json')] as const;
const cases: [what: string, kind: string, logits: string, make: () => string, options: PretrainedOptions][] = [
  ['LXMERT, safetensors', 'lxmert-tiny', 'logits_vmask', () => directory('lxmert', config('lxmert-tiny'), ['model.safetensors', join(models, 'lxmert-tiny/model.safetensors')]), {}],
  ['LXMERT, two shards', 'lxmert-tiny', 'logits_vmask', () => directory('lxmert-shards', config('lxmert-tiny'), ...shards(join(models, 'lxmert-tiny/model.safetensors'))), {}],
  ['LXMERT, zip of torch.save', 'lxmert-tiny', 'logits_vmask', () => directory('lxmert-zip', config('lxmert-tiny'), ['pytorch_model.bin', join(files, 'lxmert-tiny/pytorch_model.bin')]), {}],
  ["LXMERT, the authors' names in the old stream of torch.save", 'lxmert-tiny', 'logits_vmask', () => join(directory('lxmert-legacy', config('lxmert-tiny'), ['model_LXRT.pth', join(files, 'lxmert-tiny/model_LXRT.pth')]), 'model_LXRT.pth'), {}],
  ['VL-BERT, safetensors', 'vlbert-tiny', 'logits', () => directory('vlbert', config('vlbert-tiny'), ['model.safetensors', join(models, 'vlbert-tiny/model.safetensors')]), {}],
  ["VL-BERT, the authors' training checkpoint", 'vlbert-tiny', 'logits', () => join(directory('vlbert-legacy', ['best.model', join(files, 'vlbert-tiny/vl-bert_base_res101_vqa-0004.model')]), 'best.model'),
    { backbone: 'vl-bert', config: { hidden_size: 16, visual_size: 16, num_hidden_layers: 2, num_attention_heads: 4, intermediate_size: 32, vocab_size: 110, max_position_embeddings: 24, num_answers: 7 } }],
  ['VisualBERT, safetensors', 'visualbert-tiny', 'logits.vt1', () => directory('visual', config('visualbert-tiny'), ['model.safetensors', join(models, 'visualbert-tiny/model.safetensors')]), {}],
  ['VisualBERT, zip of torch.save', 'visualbert-tiny', 'logits.vt0', () => directory('visual-zip', config('visualbert-tiny'), ['pytorch_model.bin', join(files, 'visualbert-tiny/pytorch_model.bin')]), { config: { visual_token_type_id: 0 } }],
];

describe.each([['cpu', useCpu], ['onnx', useOnnx]] as const)('on %s', (_, use) => {
  beforeAll(use);
  afterAll(useCpu);

  it.each(cases)('%s gives the logits of its reference', async (_what, kind, logits, make, options) => {
    const { model, kind: backbone, report, config: complete } = await fromPretrained(make(), { ...options, load: { head: 'stored' } });
    expect([report.drawn, report.missing, report.unexpected, report.notFinite]).toEqual([[], [], [], []]);
    const { tensors: io } = readSafetensors(readFileSync(join(models, kind, 'io.safetensors')), 'io');
    const inputs = backbone.inputsFrom(io, complete);
    const got = await adapt(model, []).forward(inputs);
    const want = io.get(logits)!;
    expect(got.shape).toEqual(want.shape);
    const worst = Math.max(...Array.from(got.dataSync(), (x, i) => Math.abs(x - Number(want.data[i]))));
    expect(worst).toBeLessThan(1e-5);
    tf.dispose([got, ...tensorsIn(inputs)]);
    disposeModel(model.scope);
  });
});

describe('a vocabulary beside the weights', () => {
  const words = ['[PAD]', '[UNK]', '[CLS]', '[SEP]', '[MASK]', 'what', 'What', 'is', '?', 'red', 'Red'];
  const vocab = ['vocab.txt', bytes(`${words.join('\n')}\n`)] as const;
  const visualBert = (name: string, ...more: Parameters<typeof directory>[1][]) => directory(name, config('visualbert-tiny'), ['model.safetensors', join(models, 'visualbert-tiny/model.safetensors')], vocab, ...more);
  const opened = async (from: string, options: PretrainedOptions = {}) => {
    const { model, config: complete, tokenizer } = await fromPretrained(from, options);
    disposeModel(model.scope);
    return { complete, model: model.config, ids: tokenizer?.encode('What is Red?') };
  };
  beforeAll(useCpu);

  it('gives the model its special tokens, unless the caller says otherwise', async () => {
    const specials = { cls: 2, sep: 3, mask: 4, question_mark: 8, vocab_size: 110 };
    const found = await opened(visualBert('specials'));
    expect(found.complete).toMatchObject(specials);
    expect(found.model).toMatchObject(specials);
    expect((await opened(join(root, 'specials'), { config: { question_mark: null } })).model).toMatchObject({ ...specials, question_mark: null });
    const many = bytes(`${[...words, ...Array.from({ length: 100 }, (_, i) => `w${i}`)].join('\n')}\n`);
    await expect(opened(visualBert('many', ['vocab.txt', many]))).rejects.toThrow(/many\/vocab\.txt has 111 word pieces, .*model\.safetensors a table of 110/);
  });

  it('is read with the case that it was made for', async () => {
    const [uncased, cased] = [[5, 7, 9, 8], [6, 7, 10, 8]];
    expect((await opened(visualBert('uncased'))).ids).toEqual(uncased);
    expect((await opened(visualBert('told', ['tokenizer_config.json', bytes('{"do_lower_case":false}')]))).ids).toEqual(cased);
    const json = bytes(tokenizerJson(`${words.join('\n')}\n`, 'vocab.txt', { lowercase: false }));
    expect((await opened(visualBert('json', ['tokenizer.json', json]))).ids).toEqual(cased);
    await expect(opened(visualBert('odd', ['tokenizer_config.json', bytes('{"do_lower_case":"no"}')]))).rejects.toThrow(/odd\/tokenizer_config\.json: 'do_lower_case': .*expected boolean/);
    await expect(opened(visualBert('torn', ['tokenizer_config.json', bytes('{')]))).rejects.toThrow(/torn\/tokenizer_config\.json is not JSON/);
  });
});

it('a file without a configuration tells how many answers it has', async () => {
  const file = join(models, 'visualbert-tiny/model.safetensors');
  const from = join(directory('sized', ['weights.safetensors', file]), 'weights.safetensors');
  const found = (changes: PretrainedOptions['config']) => findModel({ directory: join(root, 'sized'), files: ['weights.safetensors'] }, { backbone: 'visual-bert', size: 'tiny', config: changes });
  expect((await found(undefined)).config).toMatchObject({ num_labels: 7, hidden_size: 64 });
  expect((await found({ num_labels: 3 })).config).toMatchObject({ num_labels: 3 });
  expect(await storedAnswers(backbone('visual-bert'), {}, from)).toBe(7);
  expect(await storedAnswers(backbone('lxmert'), {}, join(files, 'lxmert-tiny/model_LXRT.pth'))).toBe(7);
  expect(await storedAnswers(backbone('lxmert'), {}, from)).toBeUndefined();
});

describe('a model that cannot be had', () => {
  it('is refused by what is missing or contradicts itself', async () => {
    await useCpu();
    const before = tf.memory().numTensors;
    const weights = join(models, 'lxmert-tiny/model.safetensors');
    await expect(fromPretrained(directory('bare', ['model.safetensors', weights]))).rejects.toThrow(/bare\/config\.json is missing: .* name the backbone and its size/);
    await expect(fromPretrained(directory('empty', config('lxmert-tiny')))).rejects.toThrow('no weights: model.safetensors, pytorch_model.bin');
    await expect(fromPretrained(directory('other', config('lxmert-tiny'), ['model.safetensors', weights]), { backbone: 'vl-bert' })).rejects.toThrow("is of a 'lxmert', but the backbone is to be 'vl-bert'");
    await expect(fromPretrained(join(root, 'other'), { config: { hidden_size: 20 } })).rejects.toThrow(/has shape \[\d+.*\], the model expects/);
    await expect(fromPretrained(join(root, 'other'), { config: { hidden_act: 'relu' } })).rejects.toThrow(/config\.json: 'hidden_act'/);
    const broken = readFileSync(weights).subarray(0, -40);
    await expect(fromPretrained(directory('broken', config('lxmert-tiny'), ['model.safetensors', broken]))).rejects.toThrow('cut off');
    await expect(fromPretrained(directory('text', ['config.json', bytes('{')], ['model.safetensors', weights]))).rejects.toThrow('is not JSON');
    await expect(fromPretrained(directory('bert', ['config.json', bytes('{"model_type":"bert"}')], ['model.safetensors', weights]))).rejects.toThrow('is of a BERT');
    await expect(fromPretrained(directory('gpt', ['config.json', bytes('{"model_type":"gpt2"}')], ['model.safetensors', weights]))).rejects.toThrow(/gpt\/config\.json is of a 'gpt2', which is not supported: model_type is one of vl_bert, lxmert, visual_bert, or bert/);
    expect(tf.memory().numTensors).toBe(before);
  });
});
