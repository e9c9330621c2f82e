import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { capturedConsole, openModel, runCommand } from '@espalier/cli';
import { compose, componentOf } from '@espalier/tangent';
import { toBeBitEqual, useCpu } from '@espalier/testing';
import { afterAll, beforeAll, expect, it } from 'vitest';

const folder = mkdtempSync(join(tmpdir(), 'espalier-tangent-'));
afterAll(() => rmSync(folder, { recursive: true }));
const at = (name: string) => join(folder, name);
const run = async (...args: string[]) => {
  const to = capturedConsole();
  const code = await runCommand([...args, '--backend', 'cpu'], to);
  return { code, ...to.printed, objects: () => to.objects() };
};
const done = async (...args: string[]) => {
  const found = await run(...args);
  expect(found.err + String(found.code)).toMatch(/(^|\n)0$/);
  return found;
};
const train = (out: string, ...args: string[]) =>
  done('train', '--size', 'tiny', '--data', 'shapes:30', '--features', 'components', '--limit-train', '48', '--limit-eval', '12', '--epochs', '1', '--batch-size', '8', '--loss', 'square', '--lr', '1e-2', '--out', at(out), '--json', ...args);
const linear = ['--plugin', 'tangent:{"lastK":1}'];

beforeAll(async () => {
  await useCpu();
  for (const i of [1, 2, 3]) await train(`shard-${i}`, ...linear, '--shard', `${i}/3`);
});

it('trains tangents of a frozen fresh head, on the shard alone', async () => {
  const summaries = await Promise.all([1, 2, 3].map((i): unknown => JSON.parse(readFileSync(at(`shard-${i}/summary.json`), 'utf8'))));
  for (const s of summaries) expect(s).toMatchObject({ trainQuestions: 16, plugins: ['tune#head', 'tangent'], flopsByPlugin: { tangent: expect.any(Number) } });
  const [first, second] = [await openModel(at('shard-1')), await openModel(at('shard-2'))];
  const frozen = [...first.adapted.parameters.values()].filter((p) => p.instance === 'tune#head');
  expect(frozen.length).toBeGreaterThan(0);
  for (const p of frozen) toBeBitEqual(p.variable.dataSync(), second.adapted.parameters.get(p.path)!.variable.dataSync(), p.path);
  expect(first.task.shard).toEqual({ index: 0, of: 3, by: 'random', seed: 0, samples: 16 });
  for (const opened of [first, second]) opened.dispose();
});

it('composes, says influences, removes: the files are those of composing the others', async () => {
  const shards = [1, 2, 3].flatMap((i) => ['--model', at(`shard-${i}`)]);
  const [composed] = (await done('compose', ...shards, '--to', at('all'), '--json')).objects();
  expect(composed).toMatchObject({ type: 'composition', components: ['shard-1', 'shard-2', 'shard-3'].map((id) => ({ id, weight: 1 / 3 })), privacy: null });
  const [told] = (await done('influence', '--model', at('all'), '--json')).objects();
  expect(told).toMatchObject({ type: 'influence', components: [{ samples: 16 }, { samples: 16 }, { samples: 16 }] });
  expect((await done('eval', '--model', at('all'), '--json')).objects().at(-1)).toMatchObject({ questions: 12 });
  expect(Object(JSON.parse(readFileSync(at('all/manifest.json'), 'utf8'))).task).not.toHaveProperty('shard');

  await done('compose', ...shards.slice(0, 2), ...shards.slice(4), '--to', at('others'));
  await done('remove', '--model', at('all'), '--component', 'shard-2', '--to', at('left'));
  await done('remove', '--model', at('all'), '--component', 'shard-2');
  for (const name of ['left', 'all']) expect(readFileSync(at(`${name}/tangent.safetensors`)).equals(readFileSync(at('others/tangent.safetensors'))), name).toBe(true);
  expect(existsSync(at('all/components/shard-2.safetensors'))).toBe(false);
  expect(readFileSync(at('all/composition.json'), 'utf8')).not.toContain('shard-2');

  // A composition grows by composing it with another model.
  await done('compose', '--model', at('all'), '--model', at('shard-2'), '--to', at('grown'), '--component-weights', 'samples');
  const opened = await openModel(at('grown'));
  const parts = await Promise.all([1, 2, 3].map(async (i) => {
    const own = await openModel(at(`shard-${i}`));
    const component = await componentOf(own.adapted, { id: `shard-${i}`, answers: own.task.answers });
    own.dispose();
    return component;
  }));
  for (const [name, { data }] of compose(parts).tensors) toBeBitEqual(opened.adapted.parameters.get(`tangent/${name}`)!.variable.dataSync(), data, name);
  opened.dispose();
});

it('trains privately, says what is promised, and composes the promises of disjoint shards', async () => {
  const privacy = (epsilon: number) => ['--privacy', JSON.stringify({ epsilon, delta: 1e-3, clip: 20 }), '--optimiser', 'adam'];
  for (const [i, epsilon] of [[1, 2], [2, 5]] as const) await train(`private-${i}`, ...linear, '--shard', `${i}/3`, ...privacy(epsilon));
  const opened = await openModel(at('private-1'));
  const { privacy: promised } = opened.task;
  opened.dispose();
  expect(promised).toMatchObject({ delta: 1e-3, samples: 16, rate: 0.5, steps: 2, clip: 20, sampling: 'poisson', adjacency: 'add or remove one sample' });
  expect(Number(promised!['epsilon'])).toBeLessThanOrEqual(2);
  expect(Number(promised!['epsilon'])).toBeGreaterThan(1.99);
  const [both] = (await done('compose', '--model', at('private-1'), '--model', at('private-2'), '--to', at('private'), '--json')).objects();
  expect(both).toMatchObject({ privacy: { delta: 1e-3, samples: 32, assumptions: expect.arrayContaining(['no sample is in two shards']) } });
  expect(Number(Object(both).privacy.epsilon)).toBeGreaterThan(4.9);
  const [mixed] = (await done('compose', '--model', at('private-1'), '--model', at('shard-2'), '--to', at('mixed'), '--json')).objects();
  expect(mixed).toMatchObject({ privacy: null });
  for (const [change, words] of [[{ delta: 0.1 }, 'expected less than 1 / samples'], [{ sampling: 'shuffled' }, "only 'poisson'"], [{ clpi: 1 }, "Did you mean 'clip'"]] as const) {
    const refused = await run('train', '--size', 'tiny', '--data', 'shapes:30', '--features', 'components', ...linear, '--privacy', JSON.stringify({ epsilon: 1, delta: 1e-4, clip: 1, ...change }), '--out', at('no'));
    expect(refused.err).toContain(words);
  }
  expect((await run('train', '--size', 'tiny', '--data', 'shapes:30', '--features', 'components', '--plugin', 'lora', ...privacy(1), '--out', at('no'))).err).toContain('none of the plugins here trains privately');
  for (const more of [['--cache', 'memory'], ['--flip']])
    expect((await run('train', '--size', 'tiny', '--data', 'shapes:30', '--features', 'components', ...linear, ...privacy(1), ...more, '--out', at('no'))).err).toContain(`${more[0]} is not made for --privacy`);
  expect(existsSync(at('no'))).toBe(false);
});

it('refuses what does not compose, and says why', async () => {
  await train('seed', ...linear, '--seed', '1');
  const other = await run('compose', '--model', at('shard-1'), '--model', at('seed'), '--to', at('x'));
  expect(other.code).toBe(1);
  expect(other.err).toMatch(/'shard-1' and 'seed' do not compose: they have another base \([0-9a-f]{12} and [0-9a-f]{12}\): the backbone's weights are .* another head/);
  await train('wide', '--plugin', 'tangent:{"lastK":2}');
  expect((await run('compose', '--model', at('shard-1'), '--model', at('wide'), '--to', at('x'))).err).toContain('another selection');
  expect((await run('compose', '--model', at('shard-1'), '--model', at('shard-1'), '--to', at('x'))).err).toContain("two components are called 'shard-1'");
  expect((await run('compose', '--model', at('shard-1'), '--to', at('shard-2'))).err).toContain('holds a model already');
  expect((await run('compose', '--model', at('shard-1'), '--model', at('shard-2'), '--to', at('x'), '--component-weights', '1,x')).err).toContain('expected uniform, samples, or numbers');
  expect((await run('remove', '--model', at('shard-1'), '--component', 'x')).err).toContain('is no composition');
  expect((await run('remove', '--model', at('all'), '--component', 'shard-4')).err).toContain("Did you mean 'shard-1' or 'shard-3'?");
  writeFileSync(at('left/composition.json'), '{"format":1}');
  expect((await run('influence', '--model', at('left'))).err).toMatch(/left\/composition\.json: /);
  expect((await run('train', '--size', 'tiny', '--plugin', 'lora', '--plugin', 'tangent', '--out', at('x'))).err).toContain("'lora' is trainable there");
  expect((await run('train', '--shard', '4/3', '--out', at('x'))).err).toContain('there are 3 parts');
  expect((await run('train', '--loss', 'sqare', '--out', at('x'))).err).toContain("Did you mean 'square'?");
  expect(existsSync(at('x'))).toBe(false);
});
