import { readFileSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { parseJson } from './json.ts';
import { vlBertBoxes } from './vl-bert-boxes.ts';
import { readCocoSizes, readVlBertRegions, vlBertFeatures } from './vl-bert-features.ts';

const Golden = z.array(z.object({ width: z.int(), height: z.int(), flip: z.boolean(), boxes: z.array(z.number()), imInfo: z.tuple([z.number(), z.number(), z.number(), z.number()]), expected: z.array(z.number()) }));
// boxes of the original data pipeline on made-up images
const golden = parseJson(readFileSync(new URL('../fixtures/vl-bert-boxes.json', import.meta.url), 'utf8'), Golden, 'vl-bert-boxes.json');

let root = '';
beforeAll(async () => {
  root = await mkdtemp(path.join(tmpdir(), 'espalier-vl-bert-'));
});
afterAll(() => rm(root, { recursive: true }));

const base64 = (values: readonly number[]) => Buffer.from(Float32Array.from(values).buffer).toString('base64');
const stored = (change: Readonly<Record<string, unknown>> = {}) => ({ image_id: 9, num_boxes: 2, boxes: base64([0, 0, 10, 20, 5, 5, 30, 40]), features: base64([1, 2, 3, 5, 6, 7]), ...change });
async function file(name: string, content: unknown): Promise<string> {
  const at = path.join(root, name);
  await writeFile(at, JSON.stringify(content));
  return at;
}

describe('vlBertBoxes', () => {
  it.each(golden)('$width x $height, flipped: $flip', ({ width, height, flip, boxes, imInfo, expected }) => {
    const found = vlBertBoxes({ boxes: Float32Array.from(boxes), features: new Float32Array(boxes.length / 4), width, height }, { flip });
    expect(found.imInfo).toEqual(imInfo);
    expect([...found.boxes]).toEqual(expected);
  });

  it("puts the image's own feature in front, or else the mean", () => {
    const regions = { boxes: new Float32Array(8), features: Float32Array.of(1, 2, 3, 6), width: 640, height: 480 };
    expect([...vlBertBoxes(regions).features]).toEqual([2, 4, 1, 2, 3, 6]);
    expect([...vlBertBoxes({ ...regions, imageFeature: Float32Array.of(8, 9) }).features]).toEqual([8, 9, 1, 2, 3, 6]);
    expect(() => vlBertBoxes({ ...regions, boxes: new Float32Array(0), features: new Float32Array(0) })).toThrow('without regions');
  });

  it('leaves what it was given as it was', () => {
    const boxes = Float32Array.of(1, 2, 3, 4);
    vlBertBoxes({ boxes, features: Float32Array.of(1), width: 640, height: 480 }, { flip: true });
    expect([...boxes]).toEqual([1, 2, 3, 4]);
  });
});

describe("VL-BERT's files", () => {
  const size = { width: 640, height: 480 };

  it('hold regions, and the feature of the image where it was extracted', async () => {
    const regions = await readVlBertRegions(await file('9.json', stored({ features: `${base64([1, 2, 3, 5, 6, 7]).slice(0, 8)}\n${base64([1, 2, 3, 5, 6, 7]).slice(8)}\n` })), size);
    expect(regions).toEqual({ ...size, boxes: Float32Array.of(0, 0, 10, 20, 5, 5, 30, 40), features: Float32Array.of(1, 2, 3, 5, 6, 7) });
    expect((await readVlBertRegions(await file('10.json', stored({ image_box_feature: base64([7, 8, 9]) })), size)).imageFeature).toEqual(Float32Array.of(7, 8, 9));
  });

  it('are named with what is wrong', async () => {
    const bad = async (name: string, change: Readonly<Record<string, unknown>>) => readVlBertRegions(await file(name, stored(change)), size);
    await expect(bad('a.json', { num_boxes: 3 })).rejects.toThrow(/a\.json, field boxes: 32 bytes, expected 48/);
    await expect(bad('b.json', { boxes: base64([0, 0, 641, 1, 0, 0, 1, 1]) })).rejects.toThrow(/b\.json, field boxes: box 0 reaches 641 outside of the 640x480 image/);
    await expect(bad('c.json', { image_box_feature: base64([1]) })).rejects.toThrow('field image_box_feature: 4 bytes, expected 12');
    await expect(bad('d.json', { features: undefined })).rejects.toThrow('features');
  });

  it('make a folder, with sizes from COCO', async () => {
    const sizes = await readCocoSizes(await file('instances_train2014.json', { images: [{ id: 9, ...size, file_name: 'x' }, { id: 10, ...size }], annotations: [] }));
    expect(sizes.get('9')).toEqual(size);
    const folder = await vlBertFeatures(root, sizes, { size: 3, by: 'vl-bert tiny' });
    expect([folder.images, folder.size]).toEqual([['10', '9'], 3]);
    expect((await folder.regions('9')).width).toBe(640);
    await expect(folder.regions('11')).rejects.toThrow("the size of image '11' is not known");
    await expect(vlBertFeatures(root, sizes, { size: 2048, by: 'vl-bert base' })).rejects.toThrow('10.json: 3 numbers per region, but vl-bert base takes 2048');
    await expect(vlBertFeatures(root, new Map())).rejects.toThrow('no IMAGE.json of any of the 0 images');
    await expect(vlBertFeatures(path.join(root, 'nowhere'), sizes)).rejects.toThrow('nowhere cannot be listed');
    await file('10.json', stored({ num_boxes: 1, boxes: base64([0, 0, 1, 1]) }));
    await expect((await vlBertFeatures(root, sizes)).regions('9')).rejects.toThrow('3 numbers per region, those of 10.json 6');
  });
});
