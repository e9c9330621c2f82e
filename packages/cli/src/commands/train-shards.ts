import { printJson } from '../console.ts';
import { ShardsSettings } from '../settings.ts';
import { runShards } from '../shards.ts';
import { command } from './command.ts';

export const trainShards = command({
  name: 'train-shards',
  says: 'Train one model on each of several disjoint parts of the data, in processes side by side',
  examples: [
    `espalier train-shards --shards 10 --workers 2 --plugin 'tangent:{"lastK":1}' --loss square --out out/shards`,
    'espalier train-shards --config shards.json --queue redis://localhost:6379 --out out/shards',
  ],
  settings: ShardsSettings,
  run: async ({ config: _, json, ...options }, to) => {
    const directories = await runShards(options, {
      signal: to.signal,
      onEvent: (event) => {
        if (json) printJson(to, event);
        else if (event.type === 'started') to.err(`${event.id} begins${event.attempt > 1 ? ` again (attempt ${event.attempt})` : ''}\n`);
        else if (event.type === 'finished') to.err(`${event.id} is finished\n`);
        else to.err(`${event.id} was lost: ${event.reason}${event.again ? '; it goes on from its checkpoint' : ''}\n`);
      },
    });
    if (json) printJson(to, { type: 'shards', directories });
    else to.out(`${directories.length} shards trained:\n${directories.map((d) => `  ${d}\n`).join('')}`);
  },
});
