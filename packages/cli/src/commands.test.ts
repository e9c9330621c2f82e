import { createRequire } from 'node:module';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { CheckpointError, definePlugin, readSafetensors, scale, value } from '@espalier/core';
import { encodePng, openData } from '@espalier/data';
import { registerPlugin } from '@espalier/train';
import * as tf from '@tensorflow/tfjs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { capturedConsole } from './captured-console.ts';
import { evaluate } from './evaluation.ts';
import { openModel } from './model-directory.ts';
import { compositionRoot } from './plugins.ts';
import { runCommand } from './program.ts';
import type { RunEvent } from './run-events.ts';
import { runTraining } from './training.ts';

const folder = mkdtempSync(join(tmpdir(), 'espalier-commands-'));
afterAll(() => rmSync(folder, { recursive: true }));
const at = (name: string) => join(folder, name);
const fixture = (name: string) => fileURLToPath(new URL(`../../vl-models/fixtures/${name}`, import.meta.url));

/** Runs a command that must succeed. */
async function done(...args: string[]) {
  const to = capturedConsole();
  const code = await runCommand([...args, '--backend', 'cpu'], to);
  expect(to.printed.err + String(code)).toMatch(/(^|\n)0$/);
  return to;
}

const tiny = ['--size', 'tiny', '--data', 'shapes:24', '--features', 'components', '--limit-train', '48', '--limit-eval', '20', '--epochs', '1', '--batch-size', '16'];
const Summary = z.looseObject({
  type: z.literal('summary'), split: z.string(), accuracy: z.number(), loss: z.number(), questions: z.number(), byAnswerType: z.record(z.string(), z.unknown()),
  byQuestionType: z.record(z.string(), z.object({ accuracy: z.number(), questions: z.number() })),
  trainableParameters: z.number(), totalParameters: z.number(), bytes: z.number(), flopsPerSample: z.number(), flopsByPlugin: z.record(z.string(), z.number()), plugins: z.array(z.string()),
});
const runs: Record<string, { summary: z.output<typeof Summary>; events: unknown[] }> = {};
let tensorsBefore = 0;

beforeAll(async () => {
  await runCommand(['inspect', '--size', 'tiny', '--backend', 'cpu'], capturedConsole()); // the backend is in force before tensors are counted
  tensorsBefore = tf.memory().numTensors;
  for (const backbone of ['lxmert', 'vl-bert']) {
    const events = (await done('train', '--backbone', backbone, ...tiny, '--plugin', 'lora:{"rank":2}', '--json', '--verbose', '--out', at(backbone))).objects();
    runs[backbone] = { summary: Summary.parse(events.at(-1)), events };
  }
});

describe.each(['lxmert', 'vl-bert'])('train, eval and predict with %s', (backbone) => {
  it('trains, tells every step, and sums up', () => {
    const { summary, events } = runs[backbone]!;
    expect(events.map((e) => Object(e).type).filter((type) => type !== 'scoring')).toEqual(['start', 'step', 'step', 'step', 'evaluation', 'epoch', 'checkpoint', 'summary']);
    expect(summary).toMatchObject({ split: 'test', questions: 20, trainQuestions: 48, backend: 'cpu', seed: 0, weights: 'none', plugins: ['lora', 'tune#head'], steps: 3, epochs: 1, skipped: 0 });
    expect(Object.values(summary.byQuestionType).reduce((n, s) => n + s.questions, 0)).toBe(20);
    expect(Object.values(summary.byQuestionType).reduce((sum, s) => sum + s.accuracy * s.questions, 0) / 20).toBeCloseTo(summary.accuracy, 12);
    for (const file of ['manifest.json', 'lora.safetensors', 'tune#head.safetensors', 'vocab.txt', 'metrics.jsonl', 'summary.json']) expect(existsSync(join(at(backbone), file))).toBe(true);
    expect(JSON.parse(readFileSync(join(at(backbone), 'summary.json'), 'utf8'))).toEqual(summary);
  });

  it('eval gives the numbers of the training, bit for bit, and writes its answers', async () => {
    const { summary } = runs[backbone]!;
    const to = await done('eval', '--model', at(backbone), '--json', '--predictions', at('predictions.jsonl'));
    const { accuracy, loss, byAnswerType, byQuestionType, questions, split } = summary;
    expect(to.objects().at(-1)).toMatchObject({ type: 'evaluation', accuracy, loss, byAnswerType, byQuestionType, questions, split });
    const lines = readFileSync(at('predictions.jsonl'), 'utf8').trim().split('\n').map((line) => Object(JSON.parse(line)));
    expect(lines.map((l) => l.predicted === l.answer).filter(Boolean).length / 20).toBe(accuracy);
    expect(Object.keys(lines[0])).toEqual(['id', 'image', 'question', 'answer', 'predicted', 'probability', 'score', 'answerType', 'questionType']);
  });

  it('predict answers about an image as eval does', async () => {
    const [first] = readFileSync(at('predictions.jsonl'), 'utf8').split('\n').map((line) => Object(JSON.parse(line || 'null')));
    const data = await openData('shapes:24');
    writeFileSync(at('scene.png'), encodePng(await data.image!(first.image)));
    const to = await done('predict', '--model', at(backbone), '--image', at('scene.png'), '--question', first.question, '--top', '3', '--json');
    const [answered] = to.objects().map((x) => Object(x));
    expect(answered.answers).toHaveLength(3);
    expect(answered.answers[0].answer).toBe(first.predicted);
    expect(answered.answers[0].probability).toBeCloseTo(first.probability, 4);
    expect((await done('predict', '--model', at(backbone), '--image', at('scene.png'), '--question', first.question)).printed.out).toMatch(/^answer .*probability\n.*\nProbabilities are sigmoids/s);
  });

  it('counts what inspect counts', async () => {
    const { summary } = runs[backbone]!;
    const inspected = Object((await done('inspect', '--model', at(backbone), '--json')).objects()[0]);
    expect(inspected.parameters).toMatchObject({ trainable: summary.trainableParameters, total: summary.totalParameters });
    const files = ['manifest.json', 'vocab.txt', 'lora.safetensors', 'tune#head.safetensors'].map((name) => readFileSync(join(at(backbone), name)).byteLength);
    expect(summary.bytes).toBe(files.reduce((a, b) => a + b, 0));
    expect(summary.flopsByPlugin['lora']! + summary.flopsByPlugin['backbone']!).toBe(summary.flopsPerSample);
    expect(Object.values(inspected.flops.byPlace).reduce<number>((a, b) => a + Number(b), 0)).toBe(inspected.flops.total);
  });
});

describe('train', () => {
  it('prints a table and plain lines without --json, and leaves no tensor behind', async () => {
    const { printed } = await captured('train', ...tiny, '--out', at('plain'), '--epochs', '2', '--patience', '1', '--accumulate', '2', '--recompute', '--schedule', 'cosine', '--warmup', '2');
    expect(printed.out).toMatch(/^accuracy \(test\) .*\nparameters .*\nanswer type {2}accuracy/s);
    expect(printed.err).toMatch(/WARNING: vl-bert tiny has no pretrained weights here: all its arrays are drawn from seed 0/);
    expect(printed.err).toMatch(/\nepoch 1: validation accuracy/);
    expect(tf.memory().numTensors).toBe(tensorsBefore);
  });

  it('without a plugin trains the head alone; tune trains all there is', async () => {
    const head = Object((await done('inspect', '--size', 'tiny', '--answers', '21', '--json')).objects()[0]);
    expect(head.parameters.instances.map((i: { instance: string }) => i.instance)).toEqual(['tune#head']);
    const all = Object((await done('inspect', '--size', 'tiny', '--answers', '21', '--plugin', 'tune:{"preset":"all"}', '--json')).objects()[0]);
    expect(all.parameters.trainable).toBe(all.parameters.total);
    expect(all.parameters.total).toBe(head.parameters.total);
  });

  it('keeps what stays frozen with --cache: the same numbers, the frozen part read from the second epoch on and by the next run', async () => {
    const options = ['train', ...tiny, '--epochs', '3', '--json'];
    const summaryOf = async (...more: string[]) => Object((await done(...options, ...more)).objects().at(-1));
    const plain = await summaryOf('--out', at('uncached'));
    expect(plain.cached).toBeUndefined();
    const first = await summaryOf('--out', at('cached'), '--cache', at('activations'));
    const again = await summaryOf('--out', at('cached-again'), '--cache', at('activations'));
    for (const other of [first, again]) expect([other.loss, other.accuracy, other.byQuestionType]).toEqual([plain.loss, plain.accuracy, plain.byQuestionType]);
    const steps = plain.steps / 3;
    // An epoch, and one step more to compare; the next run only compares.
    expect([first.cached, again.cached]).toEqual([{ hits: 2 * steps - 1, misses: steps + 1, full: false }, { hits: 3 * steps - 1, misses: 1, full: false }]);
  });

  it('stops at the signal with a checkpoint, exits with 130, and goes on to the same end', async () => {
    const args = ['train', '--backbone', 'lxmert', ...tiny, '--plugin', 'lora:{"rank":2}', '--json', '--verbose', '--backend', 'cpu', '--out', at('stopped')];
    const stopping = new AbortController();
    const to = capturedConsole(stopping.signal);
    const out = to.out.bind(to);
    const code = await runCommand(args, { ...to, out: (text) => (out(text), text.includes('"step":1,') && stopping.abort()) });
    expect(code).toBe(130);
    expect(to.printed.err).toMatch(/stopped after step 1, whose checkpoint is .*step-00000001\. Go on with the same options and --out .*stopped --resume/);
    const again = capturedConsole();
    expect(await runCommand(['eval', '--model', at('stopped'), '--backend', 'cpu'], again)).toBe(1);
    expect(again.printed.err).toMatch(/unfinished training and no model yet\. Finish it: espalier train --out .* --resume/);
    expect(await runCommand([...args, '--resume'], again)).toBe(0);
    const { accuracy, loss } = runs['lxmert']!.summary;
    expect(again.objects().at(-1)).toMatchObject({ type: 'summary', accuracy, loss });
  });

  it('takes a configuration file, and plugins registered by a program', async () => {
    const offset = definePlugin({
      name: 'offset', version: '1.2.0', hookApi: '1.0', options: z.strictObject({ by: z.number().default(0) }),
      attach: (host, { by }) => host.sites({ role: 'pooled' }).map((site) => value(site, (x) => scale(x, 1 + by))),
    });
    const container = compositionRoot();
    registerPlugin(container, offset);
    const events: RunEvent[] = [];
    const summary = await runTraining(
      { size: 'tiny', data: 'shapes:24', features: 'components', limitTrain: 16, limitEval: 8, epochs: 1, backend: 'cpu', out: at('registered'), plugin: [{ name: 'offset', as: 'up', options: { by: 0.5 } }] },
      { container, onEvent: (event) => events.push(event) },
    );
    expect(summary).toMatchObject({ plugins: ['offset#up', 'tune#head'], versions: { plugins: { offset: '1.2.0' } } });
    expect(events.at(-1)).toEqual({ type: 'scoring', split: 'test', done: 8, of: 8 });
    const opened = await openModel(at('registered'), { container });
    expect(await evaluate(opened)).toMatchObject({ accuracy: summary.accuracy, loss: summary.loss });
    opened.dispose();
    await expect(openModel(at('registered'))).rejects.toThrow(/no plugin '@espalier\/offset'/);
    expect(tf.memory().numTensors).toBe(tensorsBefore);
  });

  it('takes a plugin from a file, and finds it again by the manifest', async () => {
    const url = (specifier: string) => pathToFileURL(createRequire(import.meta.url).resolve(specifier)).href;
    writeFileSync(at('damp.mjs'), `
      import { definePlugin, scale, value } from '${url('@espalier/core')}';
      import { z } from '${url('zod')}';
      export const damp = definePlugin({
        name: 'damp', version: '0.3.0', hookApi: '1.0', options: z.strictObject({ by: z.number().default(1) }),
        attach: (host, { by }) => host.sites({ role: 'pooled' }).map((site) => value(site, (x) => scale(x, by))),
      });`);
    const { printed } = await captured('train', ...tiny, '--plugin', `${at('damp.mjs')}#low:{"by":0.5}`, '--json', '--out', at('filed'));
    expect(printed.out).toMatch(/"plugins":\["damp#low","tune#head"\]/);
    expect(readFileSync(join(at('filed'), 'manifest.json'), 'utf8')).toContain(JSON.stringify(at('damp.mjs')));
    const { accuracy, loss } = Object((await done('eval', '--model', at('filed'), '--json')).objects().at(-1));
    expect(JSON.parse(readFileSync(join(at('filed'), 'summary.json'), 'utf8'))).toMatchObject({ accuracy, loss });
  });
});

describe('forward', () => {
  it.each([['lxmert-tiny', 'lxmert', 'pooled_vmask', 'logits_vmask'], ['vlbert-tiny', 'vl-bert', 'answer_state', 'logits']])('writes what the reference gives for %s', async (name, backbone, pooled, logits) => {
    const io = join(fixture(name), 'io.safetensors');
    const to = capturedConsole();
    expect(await runCommand(['forward', '--weights', fixture(name), '--inputs', io, '--out', at(`${name}.safetensors`), '--backend', 'cpu', '--json'], to)).toBe(0);
    expect(to.objects()).toMatchObject([{ type: 'forward', backbone, logits: [2, 7] }]);
    expect(to.printed.err).toMatch(/io\.safetensors: not read, because .* has no such input: .*logits/);
    const want = readSafetensors(readFileSync(io), io).tensors;
    const got = readSafetensors(readFileSync(at(`${name}.safetensors`)), 'values').tensors;
    // `_vmask` is the reference's result with the mask of the regions, which the inputs hold.
    for (const [ours, theirs] of [['head.pooled', pooled], ['logits', logits], ['head.logits', logits]] as const) {
      const [a, b] = [got.get(ours)!, want.get(theirs)!];
      expect(a.shape).toEqual(b.shape);
      expect(largestDifference(a.data, b.data)).toBeLessThan(1e-5);
    }
    expect(tf.memory().numTensors).toBe(tensorsBefore);
  });
});

describe('a saved model', () => {
  it('is refused on another backbone, and says where its weights are looked for', async () => {
    const manifest = join(at('lxmert'), 'manifest.json');
    const text = readFileSync(manifest, 'utf8');
    const json = Object(JSON.parse(text));
    try {
      writeFileSync(manifest, JSON.stringify({ ...json, seed: 5 }));
      await expect(openModel(at('lxmert'))).rejects.toThrow(/lxmert: saved on a base with fingerprint/);
      writeFileSync(manifest, JSON.stringify({ ...json, base: { ...json.base, weights: at('moved') } }));
      await expect(openModel(at('lxmert'))).rejects.toThrow(/trained on the weights '.*moved', which cannot be read: .*\nWhere they have moved, say so with --weights DIR/s);
      writeFileSync(manifest, JSON.stringify({ ...json, task: { kind: 'poetry' } }));
      await expect(openModel(at('lxmert'))).rejects.toThrow(CheckpointError);
    } finally {
      writeFileSync(manifest, text);
    }
    expect(tf.memory().numTensors).toBe(tensorsBefore);
  });

  it('is scored on other data only when the answers are the same', async () => {
    const opened = await openModel(at('lxmert'));
    expect(await evaluate(opened, { data: 'shapes:12', split: 'validation' })).toMatchObject({ split: 'validation', data: 'shapes:12' });
    opened.task.answers.reverse();
    await expect(evaluate(opened)).rejects.toThrow(/shapes:24 has other answers than the model was trained on: number 0 is ".*", expected ".*" \(21 and 21 answers\)/);
    opened.dispose();
  });
});

function largestDifference(a: ArrayLike<number | bigint>, b: ArrayLike<number | bigint>): number {
  return Math.max(...Array.from({ length: a.length }, (_, i) => Math.abs(Number(a[i]) - Number(b[i]))));
}

/** Runs a command that must succeed, whatever it says on stderr. */
async function captured(...args: string[]) {
  const to = capturedConsole();
  expect(await runCommand([...args, '--backend', 'cpu'], to)).toBe(0);
  return to;
}
