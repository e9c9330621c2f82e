import { adapt, type Plugin } from '@espalier/core';
import { selectBackend } from '@espalier/core/backend';
import { paintRegions, spreadOut } from '@espalier/data';
import { clusterMaps, gift, type ClusterMap } from '@espalier/gift';
import { lora } from '@espalier/lora';
import { adamW, fit } from '@espalier/train';
import { tune } from '@espalier/tune';
import type { VqaExamples } from '@espalier/vl-models';
import { tinyTask } from './tiny-task.ts';

/* GIFT beside LoRA at the same places of a tiny LXMERT, and where its clusters look. node examples/dist/gift.js */
await selectBackend();
const { model, task, answers } = tinyTask();
const head = tune({ preset: 'head', answers }, { as: 'head' });
const at = { role: ['attention.output', 'cross.output'] } as const;
const choices: Readonly<Record<string, Plugin>> = {
  'lora r8': lora({ rank: 8, at }),
  'gift r16': gift({ at }),
  'gift r16, PaCa': gift({ generator: 'paca', at }),
};
for (const [name, plugin] of Object.entries(choices)) {
  const adapted = adapt(model, [plugin, head]);
  const own = adapted.trainable.filter((p) => p.instance === plugin.instance).reduce((n, p) => n + p.variable.size, 0);
  const losses: number[] = [];
  const run = fit(adapted, task, { optimisers: { default: { method: adamW(), rate: 3e-3 } }, epochs: 6 });
  run.events.subscribe((e) => e.type === 'epoch' && losses.push(e.loss));
  await run.done;
  console.log(`${name.padEnd(15)} ${String(own).padStart(6)} parameters, loss ${losses[0]!.toFixed(3)} -> ${losses.at(-1)!.toFixed(3)}`);
  if (plugin.name === 'gift')
    for await (const batch of task.batches(0, 0)) {
      const maps = await clusterMaps(adapted, model.inputs(batch), { at: { stream: 'vision' } });
      show(maps.at(-1)!, batch);
      break;
    }
  adapted.dispose();
}

/** The cluster that tells the regions of the first picture apart most, in the pretrained model and before and after the update. */
function show(map: ClusterMap, { boxes, regionCounts, imageSizes }: VqaExamples): void {
  const regions = regionCounts[0]!;
  const spread = (scores: Float32Array) => Math.max(...scores.slice(0, regions)) - Math.min(...scores.slice(0, regions));
  const m = map.after[0]!.reduce((best, scores, i, all) => (spread(scores) > spread(all[best]!) ? i : best), 0);
  const [width, height] = [20, 10]; // characters
  const [x, y] = [width / imageSizes[0]!, height / imageSizes[1]!];
  const scaled = boxes.slice(0, 4 * regions).map((z, i) => z * (i % 2 ? y : x));
  const drawn = [map.pretrained, map.before, map.after].map((scores) => spreadOut(paintRegions(scores[0]![m]!.slice(0, regions), scaled, { width, height })));
  console.log(`  ${map.site}, cluster ${m} on a picture: pretrained, before the update, after it`);
  for (let row = 0; row < height; row++)
    console.log(`  ${drawn.map((map) => Array.from(map.slice(row * width, (row + 1) * width), (s) => (s >= 0.5 ? ' .:-=+*#%@'[Math.round(9 * s)] : ' ')).join('')).join('  |  ')}`);
}
