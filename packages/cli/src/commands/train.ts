import { printJson } from '../console.ts';
import { progressFor } from '../progress.ts';
import { describeSummary } from '../report.ts';
import { TrainSettings } from '../settings.ts';
import { runTraining } from '../training.ts';
import { command } from './command.ts';

export const train = command({
  name: 'train',
  says: 'Fine-tune a frozen backbone with plugins, then score the test split once',
  examples: [
    `espalier train --data shapes:500 --plugin 'lora:{"rank":8}' --epochs 2`,
    `espalier train --backbone lxmert --weights lxmert-small --data easy-vqa:DIR --plugin lora --json`,
    `espalier train --plugin 'tune:{"preset":"all"}' --lr 5e-4 --out out/full`,
    'espalier train --config run.json --seed 1 --out out/run-1 --resume',
  ],
  settings: TrainSettings,
  run: async ({ config: _, json, verbose, ...options }, to) => {
    const progress = progressFor(to, { json, verbose });
    try {
      const summary = await runTraining(options, { onEvent: (event) => progress.show(event), signal: to.signal });
      progress.end();
      if (json) printJson(to, summary);
      else to.out(`${describeSummary(summary)}\n`);
    } finally {
      progress.end();
    }
  },
});
