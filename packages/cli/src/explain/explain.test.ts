import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { decodeImage, encodePng, openData } from '@espalier/data';
import * as tf from '@tensorflow/tfjs';
import { afterAll, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { capturedConsole } from '../captured-console.ts';
import { runCommand } from '../program.ts';

const folder = mkdtempSync(join(tmpdir(), 'espalier-explain-'));
afterAll(() => rmSync(folder, { recursive: true }));
const at = (name: string) => join(folder, name);

describe('espalier explain', () => {
  const url = (specifier: string) => pathToFileURL(createRequire(import.meta.url).resolve(specifier)).href;
  const run = async (...args: string[]) => {
    const to = capturedConsole();
    const code = await runCommand(args, to);
    return { code, ...to.printed };
  };
  const tiny = ['--size', 'tiny', '--data', 'shapes:24', '--features', 'grid', '--limit-train', '16', '--limit-eval', '8', '--epochs', '1', '--backend', 'cpu'];
  /** A plugin that shows the first two numbers of every token where a block ends. */
  const watcher = () => {
    writeFileSync(at('watch.mjs'), `
      import { definePlugin, readout, slice } from '${url('@espalier/core')}';
      import { z } from '${url('zod')}';
      export const watch = definePlugin({
        name: 'watch', version: '1.0.0', hookApi: '1.0', options: z.strictObject({}),
        attach: (host) => host.sites({ role: 'block.output' }).map((site) => readout(site, ['first', 'second'], (x) => slice(x, [0, 0, 0], [x.shape[0], x.shape[1], 2]))),
      });
    `);
    return `${at('watch.mjs')}:{}`;
  };

  it.each(['lxmert', 'vl-bert', 'visual-bert'])('writes pictures and numbers of what plugins show, with %s', async (backbone) => {
    const trained = await run('train', '--backbone', backbone, ...tiny, '--plugin', watcher(), '--out', at(backbone));
    expect(trained.err + String(trained.code)).toMatch(/0$/);
    const data = await openData('shapes:24', { seed: 0 });
    const picture = await data.image!(data.splits.train[0]!.image);
    writeFileSync(at('scene.png'), encodePng(picture));
    const before = tf.memory().numTensors;
    const out = at(`${backbone}-out`);
    const { code, err } = await run('explain', '--model', at(backbone), '--image', at('scene.png'), '--question', 'what color is it', '--out', out, '--backend', 'cpu');
    expect(err + String(code)).toMatch(/0$/);
    expect(tf.memory().numTensors).toBe(before);
    const Place = z.object({ path: z.string(), labels: z.array(z.string()), variants: z.record(z.string(), z.object({ words: z.array(z.array(z.number())), regions: z.array(z.array(z.number())) })) });
    const { words, boxes, places } = z.object({ words: z.array(z.string()), boxes: z.array(z.array(z.number()).length(4)), places: z.array(Place) }).parse(JSON.parse(readFileSync(join(out, 'explanation.json'), 'utf8')));
    expect(words.join('')).toContain('what');
    expect(boxes).toHaveLength(64);
    const seen = places.flatMap(({ variants }) => Object.values(variants)).flatMap((v) => [...v.words.map((w) => w.length), ...v.regions.map((r) => r.length)]);
    expect(new Set(seen)).toEqual(backbone === 'lxmert' ? new Set([0, words.length, 64]) : new Set([words.length, 64]));
    expect(places[0]!.variants['adapted']).toEqual(places[0]!.variants['pretrained']); // the plugin changes nothing
    const pictured = places.filter(({ variants }) => variants['adapted']!.regions[0]!.length);
    for (const { path } of pictured) {
      const image = decodeImage(readFileSync(join(out, `watch.${path}.png`)), path);
      expect([image.width, image.height]).toEqual([2 * 128 + 12, 2 * 128 + 12]); // 2 labels by 2 variants
    }
    expect(existsSync(join(out, 'explanation.json'))).toBe(true);
  });

  it('says when no plugin shows anything', async () => {
    await run('train', '--backbone', 'vl-bert', ...tiny, '--plugin', 'lora:{"rank":1}', '--out', at('lora'));
    const { code, err } = await run('explain', '--model', at('lora'), '--image', at('scene.png'), '--question', 'what color is it', '--out', at('none'), '--backend', 'cpu');
    expect(code).toBe(1);
    expect(err).toMatch(/none of its plugins shows anything \(lora, tune#head\)/);
  });
});
