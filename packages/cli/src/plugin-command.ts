import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { save, type CommandHost, type PluginCommand } from '@espalier/core';
import { selectBackend } from '@espalier/core/backend';
import { fileStore, writeWhole } from '@espalier/train';
import { command, type CommandDefinition } from './commands/command.ts';
import { downloads } from './console.ts';
import { openModel } from './model-directory.ts';
import type { Container } from './plugins.ts';
import { CommonSettings } from './settings.ts';

/** A plugin's command as one of the program's own. */
export function fromPlugin({ name, says, examples, settings, run }: PluginCommand, container: Container): CommandDefinition {
  return command({
    name, says, examples,
    settings: settings.extend(CommonSettings.shape),
    run: async (given, to) => {
      const { backend, threads, weights, offline, json } = CommonSettings.parse(Object.fromEntries(Object.entries(given).filter(([key]) => key in CommonSettings.shape)));
      await selectBackend(backend, { threads });
      const host: CommandHost = {
        out: to.out, err: to.err, json, signal: to.signal,
        open: async (directory) => {
          const opened = await openModel(directory, { weights, offline, container, ...downloads(to) });
          const { adapted, manifest, task, vocabulary } = opened;
          return {
            adapted, manifest, answers: task.answers, dispose: opened.dispose,
            save: async (target) => {
              await writeWhole(join(target, vocabulary.trimStart().startsWith('{') ? 'tokenizer.json' : 'vocab.txt'), new TextEncoder().encode(vocabulary));
              const { config, fingerprint, weights: recorded } = manifest.base;
              const { shard: _, privacy: __, ...rest } = task; // of the training, which the saved model is more or less than
              await save(adapted, fileStore(target), {
                config, fingerprint, task: rest, packages: Object.fromEntries(manifest.plugins.map((p) => [p.name, p.package])),
                ...(recorded !== undefined && { weights: recorded }),
              });
            },
          };
        },
        files: (directory) => ({ ...fileStore(directory), remove: (file) => rm(join(directory, file), { force: true }) }),
      };
      await run(Object.fromEntries(Object.entries(given).filter(([key]) => key in settings.shape)), host);
    },
  });
}
