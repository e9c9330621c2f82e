import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { spawnEspalier } from '@espalier/cli';
import { encodePng, openData } from '@espalier/data';
import { compare } from './comparison.ts';
import { DATA } from './start/methods.ts';

/*
 * TOAST beside LoRA and GIFT on pretrained small backbones: test accuracy against trained parameters, with and without
 * pre-tuning on the same questions; then where the answer of each TOAST looks in one test picture, before and after feedback.
 *
 *   node examples/dist/toast-vqa.js [--seeds 3] [--train 2000] [--epochs 3] [--data easy-vqa:DIR] [--backbones lxmert,vl-bert]
 */
const { values } = parseArgs({
  options: {
    seeds: { type: 'string', default: '3' }, train: { type: 'string', default: '2000' }, epochs: { type: 'string', default: '3' }, data: { type: 'string', default: DATA },
    backbones: { type: 'string', default: 'lxmert,vl-bert' }, out: { type: 'string', default: join('out', 'toast-vqa') },
  },
});
const choices = [
  { method: 'LoRA', says: 'r8', plugin: 'lora:{"rank":8}' },
  { method: 'GIFT', says: 'r16', plugin: 'gift:{"rank":16}' },
  { method: 'TOAST-Lite', says: 'r4', plugin: 'toast:{"feedback":"lite","freezeP":true}' },
  { method: 'TOAST-Lite', says: 'r16', plugin: 'toast:{"feedback":"lite","rank":16,"alpha":4,"freezeP":true}' },
  { method: 'TOAST', says: 'from the identity', plugin: 'toast:{}' },
  { method: 'TOAST', says: 'pre-tuned', plugin: 'toast:{}', pretune: true },
];
const { train, epochs, data, out } = values;
const results = await compare({ title: 'TOAST, LoRA and GIFT', backbones: values.backbones.split(','), choices, seeds: Number(values.seeds), train, epochs, data, out });

const { splits, image } = await openData(data, { seed: 0 });
const record = splits.test?.[0] ?? splits.validation[0]!;
if (image) {
  await mkdir(out, { recursive: true });
  const file = join(out, 'picture.png');
  await writeFile(file, encodePng(await image(record.image)));
  for (const { choice, seed, directory } of results) {
    if (seed !== 0 || choice.method !== 'TOAST') continue;
    const pictures = `${directory}-explained`;
    await spawnEspalier(['explain', '--model', directory, '--image', file, '--question', record.question, '--out', pictures]);
    console.log(`where it looks for '${record.question}': ${pictures}`);
  }
}
