import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync, copyFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { bytesSource, openCheckpoint } from '@espalier/checkpoints';
import { readSafetensors, writeSafetensors, type StoredTensor } from '@espalier/core';
import { afterAll, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { capturedConsole } from './captured-console.ts';
import { runCommand } from './program.ts';

const folder = mkdtempSync(join(tmpdir(), 'espalier-convert-'));
afterAll(() => rmSync(folder, { recursive: true }));
const at = (name: string) => join(folder, name);
const models = fileURLToPath(new URL('../../vl-models/fixtures/', import.meta.url));
const files = fileURLToPath(new URL('../../checkpoints/fixtures/', import.meta.url));

/** Runs a command; its exit code, what it printed and what it complained of. */
async function run(...args: string[]) {
  const to = capturedConsole();
  const code = await runCommand(args, to);
  return { code, ...to.printed };
}
const convert = (...args: string[]) => run('convert', ...args);

async function values(file: string) {
  const checkpoint = await openCheckpoint(bytesSource(readFileSync(file), file));
  const found = new Map<string, { dtype: string; shape: readonly number[]; data: number[] }>();
  for (const [name, tensor] of checkpoint.tensors) found.set(name, { dtype: tensor.dtype, shape: tensor.shape, data: Array.from(await tensor.read(), Number) });
  return { format: checkpoint.format, tensors: found };
}

describe('espalier convert', () => {
  it('carries every number from each format to each other', async () => {
    const source = await values(join(models, 'lxmert-tiny/model.safetensors'));
    expect((await convert('--from', join(files, 'lxmert-tiny/model_LXRT.pth'), '--to', at('a.safetensors'), '--backbone', 'lxmert', '--names', 'canonical')).code).toBe(0);
    expect((await values(at('a.safetensors'))).tensors).toEqual(source.tensors);
    expect((await convert('--from', at('a.safetensors'), '--to', at('b.bin'))).code).toBe(0);
    const zip = await values(at('b.bin'));
    expect(zip.format).toBe('torch-zip');
    expect(zip.tensors).toEqual(source.tensors);
    expect((await convert('--from', at('b.bin'), '--to', at('c.pth'), '--backbone', 'lxmert', '--names', 'original')).code).toBe(0);
    const original = await values(at('c.pth'));
    const authors = await values(join(files, 'lxmert-tiny/model_LXRT.pth'));
    expect([...original.tensors.keys()].sort()).toEqual([...authors.tensors.keys()].map((name) => name.replace(/^module\./, '')).sort());
  });

  it('writes a directory with what belongs to the weights', async () => {
    const from = at('from');
    mkdirSync(from);
    for (const name of ['config.json', 'model.safetensors']) copyFileSync(join(models, 'visualbert-tiny', name), join(from, name));
    writeFileSync(join(from, 'vocab.txt'), '[PAD]\n');
    writeFileSync(join(from, 'tokenizer_config.json'), '{"do_lower_case":false}');
    const { code, out } = await convert('--from', from, '--to', at('to'), '--dtype', 'F16', '--json');
    expect(code).toBe(0);
    expect(JSON.parse(out)).toMatchObject({ type: 'convert', format: 'safetensors', written: 'safetensors', beside: ['config.json', 'tokenizer_config.json', 'vocab.txt'] });
    expect(readdirSync(at('to')).sort()).toEqual(['config.json', 'model.safetensors', 'tokenizer_config.json', 'vocab.txt']);
    const [half, whole] = [await values(join(at('to'), 'model.safetensors')), await values(join(from, 'model.safetensors'))];
    for (const [name, { data, dtype }] of half.tensors) {
      expect(dtype).toBe('F16');
      data.forEach((x, i) => expect(Math.abs(x - whole.tensors.get(name)!.data[i]!)).toBeLessThanOrEqual(2 ** -11 * Math.max(2 ** -14, Math.abs(x))));
    }
    const back = await convert('--from', at('to'), '--to', at('back.safetensors'), '--dtype', 'F32');
    expect(back.code).toBe(0);
    expect((await values(at('back.safetensors'))).tensors.get('cls.bias')).toEqual({ dtype: 'F32', shape: [7], data: half.tensors.get('cls.bias')!.data });
  });

  it('puts the answer layer into another order', async () => {
    writeFileSync(at('here.json'), JSON.stringify(['', 'yes', 'no', 'red', 'two', 'cat', 'dog']));
    writeFileSync(at('there.txt'), '<unk>\ncat\ndog\nno\nyes\n');
    const { code, out } = await convert('--from', join(models, 'lxmert-tiny'), '--to', at('ordered'), '--answers-from', at('here.json'), '--answers-to', at('there.txt'));
    expect(code).toBe(0);
    expect(out).toContain('5 answers, 1 of them without a row');
    const [before, after] = [await values(join(models, 'lxmert-tiny/model.safetensors')), await values(join(at('ordered'), 'model.safetensors'))];
    const [weight, bias] = ['answer_head.logit_fc.3.weight', 'answer_head.logit_fc.3.bias'];
    const width = 32;
    const row = (i: number) => (i < 0 ? Array.from({ length: width }, () => 0) : before.tensors.get(weight)!.data.slice(i * width, (i + 1) * width));
    expect(after.tensors.get(weight)).toEqual({ dtype: 'F32', shape: [5, width], data: [-1, 5, 6, 2, 1].flatMap(row) });
    expect(after.tensors.get(bias)!.data).toEqual([-1, 5, 6, 2, 1].map((i) => (i < 0 ? 0 : before.tensors.get(bias)!.data[i]!)));
    expect(JSON.parse(readFileSync(join(at('ordered'), 'config.json'), 'utf8'))).toMatchObject({ model_type: 'lxmert', num_qa_labels: 5 });
    writeFileSync(at('all_ans.json'), JSON.stringify(['gray', 'man', '2', 'x', 'y', 'z', 'w'].map((ans) => ({ ans, dsets: ['vqa'] }))));
    writeFileSync(at('own.txt'), 'Two\nthe man\ngrey\nnever\n');
    const surgery = await convert('--from', join(models, 'lxmert-tiny'), '--to', at('answers.safetensors'), '--answers-from', at('all_ans.json'), '--answers-to', at('own.txt'));
    expect(surgery.code).toBe(0);
    expect((await values(at('answers.safetensors'))).tensors.get(bias)!.data).toEqual([2, 1, 0, -1].map((i) => (i < 0 ? 0 : before.tensors.get(bias)!.data[i]!)));
  });

  it('refuses what cannot be, and leaves nothing behind', async () => {
    const weights = join(models, 'lxmert-tiny');
    writeFileSync(at('long.txt'), Array.from({ length: 9 }, (_, i) => `a${i}`).join('\n'));
    writeFileSync(at('one.txt'), 'a8\n');
    const refused = async (text: string | RegExp, ...args: string[]) => {
      const { code, err } = await convert(...args);
      expect(err).toMatch(text);
      expect(code).not.toBe(0);
    };
    await refused('files ending in .h5 are not written', '--from', weights, '--to', at('x.h5'));
    await refused('go together', '--from', weights, '--to', at('x'), '--answers-to', at('own.txt'));
    await refused('give --backbone', '--from', join(files, 'lxmert-tiny/model_LXRT.pth'), '--to', at('x.bin'), '--names', 'canonical');
    await refused('is the first list of answers that of this checkpoint', '--from', weights, '--to', at('x'), '--answers-from', at('long.txt'), '--answers-to', at('one.txt'));
    await refused('there is no such directory or file', '--from', at('nowhere'), '--to', at('x'));
    expect(existsSync(at('x'))).toBe(false);
    expect(readdirSync(folder).filter((name) => name.startsWith('.tmp'))).toEqual([]);
  });
});

describe('espalier forward --expected', () => {
  const weights = join(models, 'visualbert-tiny');
  const io = join(weights, 'io.safetensors');

  it('prints how far the logits are from a reference, and fails beyond the tolerance', async () => {
    const { code } = await run('forward', '--weights', weights, '--inputs', io, '--out', at('values.safetensors'), '--backend', 'cpu');
    expect(code).toBe(0);
    const same = await run('forward', '--weights', weights, '--inputs', io, '--out', at('v.safetensors'), '--expected', at('values.safetensors'), '--backend', 'cpu');
    expect(same.out).toContain('logits: differs by at most 0.0e+0');
    expect(same.code).toBe(0);
    copyFileSync(join(weights, 'config.json'), at('config.json'));
    await convert('--from', weights, '--to', at('rough.safetensors'), '--dtype', 'BF16');
    const rough = await run('forward', '--weights', at('rough.safetensors'), '--inputs', io, '--out', at('v.safetensors'), '--expected', at('values.safetensors'), '--backend', 'cpu');
    expect(rough.code).toBe(1);
    expect(rough.err).toMatch(/values\.safetensors: 'logits' differs by .*, more than 0\.0001|'joint.*' differs by/);
    const none = await run('forward', '--weights', weights, '--inputs', io, '--out', at('v.safetensors'), '--expected', io, '--backend', 'cpu');
    expect(none.err).toMatch(/io\.safetensors: none of its tensors is among those written: it has .*input_ids.*; written are .*joint\./);
    expect(none.code).toBe(1);
  });

  it.each([['lxmert-tiny', /^answer_head\./, ['head.pooler', 'head.pooled']], ['visualbert-tiny', /^cls\./, ['head.pooled']]] as const)('compares what is before the head where %s lacks %s', async (name, dropped, ofHead) => {
    const own = join(models, name);
    const inputs = join(own, 'io.safetensors');
    const whole = at(`${name}-values.safetensors`);
    await run('forward', '--weights', own, '--inputs', inputs, '--out', whole, '--backend', 'cpu');
    const { tensors } = readSafetensors(readFileSync(join(own, 'model.safetensors')), name);
    const folder = at(`${name}-headless-${ofHead.length}`);
    mkdirSync(folder);
    copyFileSync(join(own, 'config.json'), join(folder, 'config.json'));
    writeFileSync(join(folder, 'model.safetensors'), writeSafetensors(new Map([...tensors].filter(([key]) => !dropped.test(key)))));
    const { code, out, err } = await run('forward', '--weights', folder, '--inputs', inputs, '--out', at('v.safetensors'), '--expected', whole, '--tolerance', '1e-9', '--json', '--backend', 'cpu');
    expect(code).toBe(0);
    expect(err).toMatch(/headless-\d has no whole answer head: logits are left out/);
    const told = z.object({ tensors: z.array(z.string()), differences: z.record(z.string(), z.number()), logits: z.undefined().optional() }).parse(JSON.parse(out));
    expect(told.tensors.filter((path) => path.startsWith('head.') || path === 'logits')).toEqual(ofHead);
    expect(Object.keys(told.differences)).toEqual(expect.arrayContaining(told.tensors));
  });

  it('names a tensor that does not fit the configuration', async () => {
    const own = join(models, 'lxmert-tiny');
    const { tensors } = readSafetensors(readFileSync(join(own, 'io.safetensors')), 'io');
    const refused = async (change: (tensors: Map<string, Omit<StoredTensor, 'dtype'>>) => void) => {
      const changed = new Map<string, Omit<StoredTensor, 'dtype'>>(tensors);
      change(changed);
      writeFileSync(at('bad.safetensors'), writeSafetensors(changed));
      const { code, err } = await run('forward', '--weights', own, '--inputs', at('bad.safetensors'), '--out', at('v.safetensors'), '--backend', 'cpu');
      expect(code).toBe(1);
      return err;
    };
    const [batch = 0, regions = 0, width = 0] = tensors.get('visual_feats')!.shape;
    expect(await refused((t) => t.set('visual_feats', { shape: [batch, regions, width + 1], data: new Float32Array(batch * regions * (width + 1)) }))).toContain(`bad.safetensors: 'visual_feats' has shape [${batch}, ${regions}, ${width + 1}], expected [samples ${batch}, regions ${regions}, visual_feat_dim ${width}]`);
    expect(await refused((t) => t.set('attention_mask', { shape: [batch, 1], data: new Float32Array(batch) }))).toMatch(/'attention_mask' has shape \[2, 1\], expected \[samples 2, words \d+\]/);
    expect(await refused((t) => t.set('input_ids', { shape: [batch, 1], data: Int32Array.from({ length: batch }, () => 110) }))).toMatch(/bad\.safetensors: '.*' has shape|holds 110/);
    const ids = tensors.get('input_ids')!;
    expect(await refused((t) => t.set('input_ids', { shape: ids.shape, data: Int32Array.from({ length: ids.data.length }, (_, i) => (i === 1 ? 110 : 5)) }))).toContain("'input_ids' holds 110 at place 1, expected ids from 0 to 109 (vocab_size 110)");
  });
});
