import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { entriesOf, weightsOf, writeSafetensors, type StoredTensor } from '@espalier/core';
import { selectBackend } from '@espalier/core/backend';
import { openData, trainWordPiece } from '@espalier/data';
import { backbone, disposeModel, initialised, toCheckpoint } from '@espalier/vl-models';
import * as tf from '@tensorflow/tfjs';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { fakeHub, type FakeHub } from '../fixtures/hub.ts';
import { capturedConsole } from './captured-console.ts';
import { runCommand } from './program.ts';

const folder = mkdtempSync(join(tmpdir(), 'espalier-models-'));
const at = (...names: string[]) => join(folder, ...names);
const text = (content: string) => new TextEncoder().encode(content);

/** Runs a command; its exit code and what it printed. */
async function run(...args: string[]) {
  const to = capturedConsole();
  const code = await runCommand([...args, '--backend', 'cpu'], to);
  return { code, ...to.printed };
}
/** A quick training, and the scores that it ends with. */
const data = ['--data', 'shapes:8', '--features', 'components'];
async function trained(out: string, ...args: string[]) {
  const { code, out: printed, err } = await run('train', ...data, '--epochs', '1', '--batch-size', '64', '--limit-train', '16', '--limit-eval', '8', '--json', '--out', out, ...args);
  expect(code, err).toBe(0);
  return { err, loss: lastLoss(printed), manifest: Object(JSON.parse(readFileSync(join(out, 'manifest.json'), 'utf8'))) };
}
const lastLoss = (printed: string): unknown => Object(JSON.parse(printed.trim().split('\n').at(-1)!)).loss;
async function scored(model: string, ...args: string[]) {
  const { code, out, err } = await run('eval', '--model', model, '--json', ...args);
  expect(code, err).toBe(0);
  return lastLoss(out);
}

let words: string; // of the questions, lower case
/** The arrays of a model drawn from a seed, as a checkpoint has them. */
async function drawn(name: string, config: Readonly<Record<string, unknown>>, seed = 1) {
  const kind = backbone(name);
  const model = kind.build({ ...Object(kind.sizes.tiny), ...config }, initialised(seed, 0.2));
  const arrays = new Map(weightsOf(model.scope).flatMap((point) => entriesOf(point.pretrained).flatMap(([part, x]) => (x instanceof tf.Tensor ? [[`${point.path}.${part}`, x] as const] : []))));
  const stored = await toCheckpoint(arrays, model.keyOf);
  disposeModel(model.scope);
  return { stored, config: Object(model.config) };
}
function directory(name: string, files: Readonly<Record<string, string | Uint8Array>>): string {
  mkdirSync(at(name), { recursive: true });
  for (const [file, content] of Object.entries(files)) writeFileSync(at(name, file), content);
  return at(name);
}

let hub: FakeHub;
const COMMIT = 'c'.repeat(40);
const LATER = 'd'.repeat(40);
const revisions: Record<string, string> = { main: COMMIT };
const environment = { ...process.env };
beforeAll(async () => {
  await selectBackend('cpu');
  words = trainWordPiece((await openData('shapes:8')).splits.train.map((r) => r.question), { size: 200 });
  const { stored, config } = await drawn('lxmert', {});
  const files = { 'config.json': text(JSON.stringify(config)), 'vocab.txt': text(words), 'model.safetensors': writeSafetensors(stored) };
  // A folder of the first one's name is there where tests run.
  hub = fakeHub(['packages/lora', 'owner/name'].map((name) => ({ name, revisions, files })));
  vi.stubGlobal('fetch', hub.fetch);
  Object.assign(process.env, { HF_ENDPOINT: 'http://hub.invalid', HF_HUB_CACHE: at('cache') });
  delete process.env['HF_TOKEN'];
});
afterAll(() => {
  vi.unstubAllGlobals();
  for (const name of ['HF_ENDPOINT', 'HF_HUB_CACHE', 'HF_TOKEN']) {
    delete process.env[name];
    if (environment[name] !== undefined) process.env[name] = environment[name];
  }
  rmSync(folder, { recursive: true });
});

describe('a model trained without weights', () => {
  it('opens again, from a size as from a configuration alone', async () => {
    const config = directory('configured', { 'config.json': JSON.stringify({ ...Object(backbone('vl-bert').sizes.tiny), model_type: 'vl_bert', num_hidden_layers: 1 }), 'vocab.txt': words });
    for (const [name, ...args] of [['bare', '--size', 'tiny', '--weights', 'none'], ['from-config', '--weights', config]] as const) {
      const { loss, manifest } = await trained(at(name), ...args);
      expect(manifest.base.weights).toBeUndefined();
      expect(await scored(at(name))).toBe(loss);
      expect(await scored(at(name), '--weights', 'none')).toBe(loss);
    }
    const other = await run('eval', '--model', at('bare'), '--weights', config);
    expect([other.code, other.err]).toEqual([1, `espalier: --weights ${config} cannot be read: it holds no weights. A model that was trained without weights opens with --weights none.\n`]);
  });
});

describe('a BERT', () => {
  it('starts a backbone on images as they are: its projection is as wide as their regions', async () => {
    const { stored } = await drawn('visual-bert', {});
    const bert = new Map([...stored].filter(([key]) => !/visual_(projection|position|token)|^cls/.test(key)).map(([key, array]) => [key.replace('visual_bert.', 'bert.'), array]));
    const { model_type: _, visual_embedding_dim: __, num_labels: ___, ...config } = (await drawn('visual-bert', {})).config;
    const weights = directory('bert', { 'config.json': JSON.stringify({ ...config, model_type: 'bert' }), 'vocab.txt': words, 'model.safetensors': writeSafetensors(bert) });
    for (const name of ['visual-bert', 'vl-bert', 'lxmert']) {
      const { loss, manifest } = await trained(at(`from-${name}`), '--backbone', name, '--weights', weights);
      expect(manifest.base.config[backbone(name).featureKey]).toBe(192);
      expect(manifest.base.weights).toBe(weights);
      expect(await scored(at(`from-${name}`))).toBe(loss);
    }
    const inputs = writeSafetensors(new Map<string, Omit<StoredTensor, 'dtype'>>([['input_ids', { shape: [1, 3], data: Int32Array.of(2, 7, 3) }], ['visual_embeds', { shape: [1, 2, 6], data: new Float32Array(12) }]]));
    writeFileSync(at('inputs.safetensors'), inputs);
    const forward = await run('forward', '--backbone', 'visual-bert', '--weights', weights, '--inputs', at('inputs.safetensors'), '--out', at('values.safetensors'), '--json');
    expect([forward.code, forward.err]).toEqual([0, expect.stringMatching(/bert has no whole answer head: logits are left out.*\n.*bert is a BERT: what it has not/)]);
    const { code, err } = await run('train', ...data, '--backbone', 'lxmert', '--weights', weights, '--head', 'stored', '--out', at('refused'));
    expect([code, err]).toEqual([2, expect.stringContaining('is a BERT, so no answer head is stored. Leave --head out.')]);
  });
});

describe('a file of weights alone', () => {
  it('has as many answers as it has, whatever the size says, and opens again', async () => {
    const { stored } = await drawn('lxmert', { num_qa_labels: 9 });
    directory('alone', { 'drawn.safetensors': writeSafetensors(stored), 'vocab.txt': words });
    expect((await runCommand(['convert', '--from', at('alone', 'drawn.safetensors'), '--to', at('alone', 'model_LXRT.pth'), '--backbone', 'lxmert', '--names', 'original'], capturedConsole()))).toBe(0);
    const { loss, manifest } = await trained(at('from-file'), '--backbone', 'lxmert', '--size', 'tiny', '--weights', at('alone', 'model_LXRT.pth'));
    expect(manifest.base.config.num_qa_labels).toBe(9);
    expect(await scored(at('from-file'))).toBe(loss);
    const anew = await trained(at('anew'), '--backbone', 'lxmert', '--size', 'tiny', '--weights', at('alone', 'model_LXRT.pth'), '--head', 'drawn');
    expect(anew.err).toMatch(/6 arrays of the answer head are not taken from .*model_LXRT\.pth but drawn from seed 0/);
    expect(anew.manifest.task.head).toBe('drawn');
    expect(await scored(at('anew'))).toBe(anew.loss);
    const inspected = await run('inspect', '--backbone', 'lxmert', '--size', 'tiny', '--weights', at('alone', 'model_LXRT.pth'), '--head', 'stored', '--json');
    expect(inspected.code, inspected.err).toBe(0);
  });
});

describe('a vocabulary of both cases', () => {
  it('is saved with the model as it was read', async () => {
    const { stored, config } = await drawn('visual-bert', {});
    const cased = words.replace(/^##z$/m, 'What');
    const weights = directory('cased', { 'config.json': JSON.stringify(config), 'vocab.txt': cased, 'tokenizer_config.json': '{"do_lower_case":false}', 'model.safetensors': writeSafetensors(stored) });
    const { loss } = await trained(at('from-cased'), '--weights', weights);
    expect([existsSync(at('from-cased', 'vocab.txt')), existsSync(at('from-cased', 'tokenizer.json'))]).toEqual([false, true]);
    expect(JSON.parse(readFileSync(at('from-cased', 'tokenizer.json'), 'utf8'))).toMatchObject({ normalizer: { lowercase: false } });
    expect(await scored(at('from-cased'))).toBe(loss);
  });
});

describe('inspect', () => {
  it('counts a model whose vocabulary is smaller than the usual ids of special tokens', async () => {
    const few = { vocab_size: 90, cls: 101, sep: 102, mask: 103, question_mark: 1029 };
    const { stored, config } = await drawn('visual-bert', few);
    const weights = directory('few', { 'config.json': JSON.stringify(config), 'model.safetensors': writeSafetensors(stored) });
    expect((await run('inspect', '--weights', weights)).code).toBe(0);
    writeFileSync(at('few', 'vocab.txt'), words.split('\n').slice(0, 90).join('\n'));
    expect((await run('inspect', '--weights', weights)).code).toBe(0);
  });
});

describe('a model of pairs of images', () => {
  it('is refused with what to use instead', async () => {
    const { stored, config } = await drawn('lxmert', { head: 'pair' });
    const weights = directory('pair', { 'config.json': JSON.stringify(config), 'vocab.txt': words, 'model.safetensors': writeSafetensors(stored) });
    await trained(at('single'), '--backbone', 'lxmert', '--size', 'tiny', '--weights', 'none');
    const manifest = JSON.parse(readFileSync(at('single', 'manifest.json'), 'utf8'));
    writeFileSync(at('single', 'manifest.json'), JSON.stringify({ ...manifest, base: { ...manifest.base, config: { ...manifest.base.config, head: 'pair' } } }));
    for (const args of [['train', ...data, '--weights', weights, '--out', at('pairs')], ['inspect', '--weights', weights], ['eval', '--model', at('single')], ['inspect', '--model', at('single')]]) {
      const { code, err } = await run(...args);
      expect([code, err]).toEqual([2, expect.stringMatching(/answers about pairs of images .*lxmertPairs of @espalier\/vl-models; see docs\/vqa-data\.md/)]);
    }
  });
});

describe('weights of the Hub', () => {
  const requests = () => hub.requests.splice(0).length;

  it('are recorded with their commit, and opened without a request while the cache has it', async () => {
    const { loss, manifest, err } = await trained(at('hub'), '--weights', 'owner/name');
    expect(manifest.base.weights).toBe(`owner/name@${COMMIT}`);
    expect(err).toMatch(/model\.safetensors: \d+ of \d+ MB/);
    expect(err).toContain(`backbone lxmert of owner/name, weights owner/name@${COMMIT}`);
    revisions['main'] = LATER;
    requests();
    expect(await scored(at('hub'))).toBe(loss);
    expect(requests()).toBe(0);
    rmSync(at('cache'), { recursive: true });
    const offline = await run('eval', '--model', at('hub'), '--offline');
    expect([offline.code, offline.err]).toEqual([1, expect.stringMatching(new RegExp(`trained on the weights 'owner/name@${COMMIT}', which cannot be read: .* and --offline forbids to fetch 'owner/name'`))]);
    expect(requests()).toBe(0);
    revisions['old'] = COMMIT;
    const again = await run('eval', '--model', at('hub'), '--json');
    expect([again.code, lastLoss(again.out)]).toEqual([0, loss]);
    expect(again.err).toMatch(/model\.safetensors: \d+ of \d+ MB/); // the download is told
  });

  it('are not those of a folder of that name when a manifest names them', async () => {
    const { loss } = await trained(at('shadowed'), '--weights', 'packages/lora@main');
    expect(await scored(at('shadowed'))).toBe(loss);
    const path = at('shadowed', 'manifest.json');
    const manifest = JSON.parse(readFileSync(path, 'utf8'));
    writeFileSync(path, JSON.stringify({ ...manifest, base: { ...manifest.base, weights: 'packages/lora' } })); // as older ones say it
    expect(await scored(at('shadowed'))).toBe(loss);
  });

  it('that cannot be had are refused in the words of the command line', async () => {
    const refusal = async (...args: string[]) => {
      const { code, err } = await run(...args);
      expect(code).toBe(1);
      expect(err).not.toMatch(/localFilesOnly|cacheDir|accessToken|fetch(Pretrained|Repository)/);
      return err;
    };
    expect(await refusal('inspect', '--weights', 'owner/none')).toMatch(/there is no directory or file 'owner\/none' here, and of the Hugging Face Hub: the Hub answered 404 .*set HF_TOKEN/);
    expect(await refusal('inspect', '--weights', 'owner/none', '--offline')).toMatch(/--offline forbids to fetch 'owner\/none'\. Call once without it/);
    vi.stubGlobal('fetch', () => Promise.reject(new TypeError('fetch failed')));
    try {
      expect(await refusal('inspect', '--weights', 'owner/other')).toMatch(/cannot be reached .*use --offline for what is in the cache .*, HF_HUB_CACHE for another cache/);
    } finally {
      vi.stubGlobal('fetch', hub.fetch);
    }
  });

  it('stop arriving when asked to', async () => {
    rmSync(at('cache'), { recursive: true, force: true });
    const stopping = new AbortController();
    hub.stall = true;
    const to = capturedConsole(stopping.signal);
    const heard = { ...to, err: (line: string) => (to.err(line), line.endsWith(' MB\n') && stopping.abort()) };
    expect(await runCommand(['eval', '--model', at('hub'), '--backend', 'cpu'], heard)).toBe(130);
    expect(to.printed.err).toMatch(/\nespalier: stopped\n$/);
  });
});
