import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { compare } from './comparison.ts';
import { DATA } from './start/methods.ts';

/*
 * GIFT beside LoRA at the same places of pretrained small backbones, at several ranks: test accuracy against trained parameters.
 * Ranks 8 of LoRA and 16 of GIFT are the published budgets; GIFT's larger and LoRA's smaller ones bring the two to equal ones.
 *
 *   node examples/dist/gift-vqa.js [--seeds 3] [--train 2000] [--epochs 3] [--data easy-vqa:DIR] [--backbones lxmert,vl-bert]
 */
const { values } = parseArgs({
  options: {
    seeds: { type: 'string', default: '3' }, train: { type: 'string', default: '2000' }, epochs: { type: 'string', default: '3' }, data: { type: 'string', default: DATA },
    backbones: { type: 'string', default: 'lxmert,vl-bert' }, out: { type: 'string', default: join('out', 'gift-vqa') },
  },
});
const at = '"at":{"role":["attention.output","cross.output"]}';
const choices = [
  ...[1, 2, 8].map((rank) => ({ method: 'LoRA', says: `r${rank}`, plugin: `lora:{"rank":${rank},"alpha":${2 * rank},${at}}` })),
  ...[4, 16, 64].map((rank) => ({ method: 'GIFT', says: `r${rank}`, plugin: `gift:{"rank":${rank}}` })),
];
const { train, epochs, data, out } = values;
await compare({ title: 'GIFT and LoRA where attention gives back', backbones: values.backbones.split(','), choices, seeds: Number(values.seeds), train, epochs, data, out });
