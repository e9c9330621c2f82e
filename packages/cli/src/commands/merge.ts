import { join } from 'node:path';
import { selectBackend } from '@espalier/core/backend';
import type { TensorToWrite } from '@espalier/checkpoints';
import { writeWhole } from '@espalier/train';
import { toCheckpoint } from '@espalier/vl-models';
import * as tf from '@tensorflow/tfjs';
import { printJson } from '../console.ts';
import { target, writeCheckpoint } from '../conversion.ts';
import { openModel } from '../model-directory.ts';
import { MergeSettings } from '../settings.ts';
import { command } from './command.ts';

export const merge = command({
  name: 'merge',
  says: 'Fold a trained model\'s plugins into plain weights, which cost nothing more to run',
  examples: ['espalier merge --model out/lora --to out/merged', 'espalier merge --model out/gift --to merged.bin'],
  settings: MergeSettings,
  run: async ({ model: directory, to, weights, backend, threads, offline, json }, out) => {
    const place = target(to);
    await selectBackend(backend, { threads });
    const opened = await openModel(directory, { weights, offline, note: (text) => out.err(`${text}\n`), signal: out.signal });
    try {
      const { adapted, model, kind, task, vocabulary } = opened;
      const merged = await adapted.merge();
      let arrays: Awaited<ReturnType<typeof toCheckpoint>>;
      try {
        arrays = await toCheckpoint(merged, model.keyOf);
      } finally {
        tf.dispose([...merged.values()]);
      }
      const tensors = [...arrays].map(([name, { shape, data }]): TensorToWrite => ({ name, dtype: 'F32', shape, read: () => Promise.resolve(data) }));
      const bytes = await writeCheckpoint(place.file, place.format, tensors, {});
      const beside: string[] = [];
      const put = async (name: string, text: string) => {
        await writeWhole(join(place.directory ?? '.', name), new TextEncoder().encode(text));
        beside.push(name);
      };
      if (place.directory !== undefined) {
        await put('config.json', `${JSON.stringify({ ...Object(model.config), [kind.answersKey]: task.answers.length }, null, 1)}\n`);
        await put('answers.json', `${JSON.stringify(task.answers)}\n`);
        await put(vocabulary.trimStart().startsWith('{') ? 'tokenizer.json' : 'vocab.txt', vocabulary);
      }
      const plugins = adapted.plugins.map((p) => p.instance);
      if (json) printJson(out, { type: 'merge', model: directory, plugins, to: place.file, format: place.format, tensors: tensors.length, bytes, beside });
      else out.out(`${plugins.join(', ')} folded into ${tensors.length} arrays of a ${model.name}, ${(bytes / 1e6).toFixed(1)} MB, written to ${place.file}${beside.length ? ` with ${beside.join(', ')}` : ''}\n`);
    } finally {
      opened.dispose();
    }
  },
});
