import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pluginCommand, readSafetensors, type Application } from '@espalier/core';
import { afterAll, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { capturedConsole } from './captured-console.ts';
import { commandOf } from './plugin-command.ts';
import { compositionRoot } from './plugins.ts';
import { runCommand } from './program.ts';

const folder = mkdtempSync(join(tmpdir(), 'espalier-plugin-command-'));
afterAll(() => rmSync(folder, { recursive: true }));
const at = (name: string) => join(folder, name);
const run = async (...args: string[]) => {
  const to = capturedConsole();
  const code = await runCommand([...args, '--backend', 'cpu'], to);
  return { code, ...to.printed, objects: () => to.objects() };
};
const tiny = ['--backbone', 'lxmert', '--size', 'tiny', '--data', 'shapes:24', '--features', 'components', '--limit-train', '32', '--limit-eval', '12', '--batch-size', '16'];
const variables = (directory: string, file: string) => readSafetensors(new Uint8Array(readFileSync(join(directory, file)))).tensors;
const Report = z.object({ type: z.literal('pretuned'), blocks: z.array(z.object({ stream: z.string(), block: z.string(), tokens: z.number().positive(), r2: z.number().max(1) })) });

describe('espalier pretune', () => {
  it('solves for the way down, and train --start takes it from there', async () => {
    const pretuned = await run('pretune', ...tiny, '--plugin', 'toast:{"feedback":"lite","bases":true}', '--out', at('pretuned'), '--json');
    expect(pretuned.err + String(pretuned.code)).toMatch(/0$/);
    expect(Report.parse(pretuned.objects().at(-1)).blocks.length).toBeGreaterThan(1);
    expect(existsSync(join(at('pretuned'), 'tune#head.safetensors'))).toBe(false);
    const bases = [...variables(at('pretuned'), 'toast.safetensors')].filter(([name]) => name.endsWith('.a'));
    const trained = await run('train', ...tiny, '--plugin', 'toast:{"feedback":"lite","bases":true}', '--start', at('pretuned'), '--epochs', '1', '--out', at('trained'));
    expect(trained.err).toContain(`toast begin with the variables in ${at('pretuned')}`);
    expect(trained.code).toBe(0);
    const after = variables(at('trained'), 'toast.safetensors');
    for (const [name, { data }] of bases) expect(after.get(name)!.data).toEqual(data); // frozen
    const again = await run('pretune', ...tiny, '--plugin', 'toast:{}', '--lambda', '0.1', '--out', at('table'));
    expect(again.out).toMatch(/block\s+stream\s+tokens\s+R2/);
  });

  it('trains with the reconstruction loss', async () => {
    const { code, err, objects } = await run('pretune', ...tiny, '--plugin', 'toast:{}', '--method', 'gradient', '--epochs', '1', '--out', at('gradient'), '--json', '--verbose');
    expect(err + String(code)).toMatch(/0$/);
    const steps = objects().filter((o) => Object(o).type === 'step');
    expect(Object(Object(steps[0]).losses)['toast reconstruction']).toBeGreaterThan(0);
    const { plugins } = z.object({ plugins: z.array(z.looseObject({ name: z.string(), options: z.record(z.string(), z.unknown()) })) }).parse(JSON.parse(readFileSync(join(at('gradient'), 'manifest.json'), 'utf8')));
    expect(plugins[0]!.options['reconstruction']).toBe(0.1);
  });

  it('says what does not fit', async () => {
    const none = await run('pretune', ...tiny, '--plugin', 'lora:{"rank":1}', '--out', at('none'));
    expect(none).toMatchObject({ code: 1 });
    expect(none.err).toMatch(/no toast 'toast' here/);
    const unlike = await run('train', ...tiny, '--plugin', 'lora:{"rank":1}', '--start', at('pretuned'), '--out', at('unlike'));
    expect(unlike.err).toMatch(/--start .*: saved are the plugins toast, to be started are lora/);
    const other = await run('train', ...tiny, '--seed', '1', '--plugin', 'toast:{"feedback":"lite","bases":true}', '--start', at('pretuned'), '--out', at('other'));
    expect(other.err).toMatch(/saved on a base with fingerprint/);
    const missing = await run('pretune', ...tiny, '--plugin', 'toast:{}');
    expect(missing).toMatchObject({ code: 2 });
    expect(missing.err).toMatch(/--out is missing/);
  });
});

describe('a command that works on saved models', () => {
  it('opens, reads the training inputs again, saves under another name, and keeps files beside', async () => {
    await run('train', ...tiny, '--plugin', 'lora:{"rank":1}', '--epochs', '1', '--out', at('model'));
    const seen: number[] = [];
    const copy = pluginCommand({
      name: 'copy', says: 'Copy a model', examples: ['espalier copy'], works: 'models',
      settings: z.strictObject({ model: z.string(), to: z.string() }),
      run: async ({ model, to }, application: Application) => {
        const place = await application.open(model);
        for await (const inputs of place.batches()) seen.push(place.adapted.model.batch(inputs));
        await place.save(to);
        expect(place.task).toMatchObject({ answers: place.answers, seed: 0 });
        await place.save(`${to}-other`, { adapted: place.adapted.without('lora'), task: { ...Object(place.task), seed: 7 } });
        const files = application.files(to);
        await files.write('beside.txt', new TextEncoder().encode('beside'));
        expect(new TextDecoder().decode(await files.read('beside.txt'))).toBe('beside');
        expect(existsSync(join(to, 'beside.txt'))).toBe(true);
        await files.remove('beside.txt');
        await files.remove('beside.txt');
        expect(await files.read('beside.txt')).toBeUndefined();
        application.report('copied', [['from', 'to'], [model, to]], { type: 'copied', batches: seen.length });
        await expect(application.compose()).rejects.toThrow(/saved models/);
        place.dispose();
      },
    });
    const to = capturedConsole();
    const { run: copied, settings } = commandOf(copy, compositionRoot());
    await copied(settings.parse({ model: at('model'), to: at('copy'), backend: 'cpu', json: true }), to);
    expect(to.objects()).toEqual([{ type: 'copied', batches: seen.length }]);
    expect(seen[0]).toBe(16);
    for (const file of ['lora.safetensors', 'tune#head.safetensors', 'vocab.txt']) expect(readFileSync(join(at('copy'), file))).toEqual(readFileSync(join(at('model'), file)));
    const before = Object(JSON.parse(readFileSync(join(at('model'), 'manifest.json'), 'utf8')));
    expect(JSON.parse(readFileSync(join(at('copy'), 'manifest.json'), 'utf8'))).toEqual(before);
    const other = Object(JSON.parse(readFileSync(join(at('copy-other'), 'manifest.json'), 'utf8')));
    expect(other.task).toEqual({ ...before.task, seed: 7 });
    expect(other.plugins).toMatchObject([{ instance: 'tune#head' }]);
  });
});
