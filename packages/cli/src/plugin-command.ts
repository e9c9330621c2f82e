import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { save, tensorsIn, type Adapted, type Application, type PluginCommand, type Workplace } from '@espalier/core';
import { selectBackend } from '@espalier/core/backend';
import { batches, type VqaData, type VqaRecord, type WordPiece } from '@espalier/data';
import { fileStore, writeWhole } from '@espalier/train';
import type { VqaModel } from '@espalier/vl-models';
import * as tf from '@tensorflow/tfjs';
import { z } from 'zod';
import { demandOf } from './backbone-model.ts';
import { command, type CommandDefinition } from './commands/command.ts';
import { compose, openTaskData } from './compose.ts';
import { downloads, printJson, type Console } from './console.ts';
import { openModel, saveModel, saveOptionsOf } from './model-directory.ts';
import { pluginSpecs } from './plugin-spec.ts';
import { resolvePlugins, type Container } from './plugins.ts';
import { progressFor } from './progress.ts';
import { ModelsSettings, TrainSettings } from './settings.ts';
import { columns } from './table.ts';
import { runTraining } from './training.ts';

/** A command of a plugin as one of `espalier`, with the options of training or those for saved models beside its own. */
export function commandOf(own: PluginCommand, container: Container): CommandDefinition {
  const shared = own.works === 'training' ? TrainSettings : ModelsSettings;
  return command({
    name: own.name, says: own.says, examples: own.examples, settings: shared.extend(own.settings.shape),
    run: async (settings, to) => {
      const keys = Object.keys(own.settings.shape);
      const given = Object.fromEntries(Object.entries(settings).filter(([key]) => keys.includes(key)));
      const rest = Object.fromEntries(Object.entries(settings).filter(([key]) => key in shared.shape && !keys.includes(key)));
      const { backend, threads } = ModelsSettings.pick({ backend: true, threads: true }).parse({ backend: rest['backend'], threads: rest['threads'] });
      await selectBackend(backend, { threads });
      await own.run(own.settings.parse(given), own.works === 'training' ? applicationOf(TrainSettings.parse(rest), container, to) : applicationFor(ModelsSettings.parse(rest), container, to));
    },
  });
}

type Training = z.output<typeof TrainSettings>;

function applicationOf(settings: Training, container: Container, to: Console): Application {
  return {
    ...applicationFor({ ...settings, weights: undefined }, container, to),
    compose: async (): Promise<Workplace> => {
      const c = await compose(container, settings, downloads(to));
      for (const note of c.notes) to.err(`${note}\n`);
      const options = saveOptionsOf(c, settings, await c.adapted.fingerprint());
      return {
        adapted: c.adapted, answers: c.data.answers, task: options.task,
        batches: () => inputsOf(c, c.train, settings.batchSize),
        save: async (directory, { adapted = c.adapted, task = options.task } = {}) => void (await saveModel(directory, { ...c, adapted }, { ...options, task })),
        dispose: () => c.dispose(),
      };
    },
    train: async (out, edit) => {
      const { plugins } = await resolvePlugins(container, settings.plugin);
      const plugin = pluginSpecs(settings.plugin).map(({ name, as }, i) => ({ name, ...(as !== undefined && { as }), options: z.record(z.string(), z.unknown()).parse(edit(plugins[i]!.name, plugins[i]!.options)) }));
      const { config: _, json, verbose, ...options } = settings;
      const progress = progressFor(to, { json, verbose });
      try {
        const summary = await runTraining({ ...options, plugin, out }, { onEvent: (event) => progress.show(event), signal: to.signal, container });
        progress.end();
        if (json) printJson(to, summary);
        else to.out(`trained for ${summary.steps} steps, accuracy ${(100 * summary.accuracy).toFixed(2)} % (${summary.split}); saved in ${out}\n`);
      } finally {
        progress.end();
      }
    },
  };
}

function applicationFor({ weights, offline, json }: Pick<z.output<typeof ModelsSettings>, 'weights' | 'offline' | 'json'>, container: Container, to: Console): Application {
  const absent = (what: string) => () => Promise.reject(new Error(`a command that works on saved models has nothing to ${what}`));
  return {
    compose: absent('compose'),
    train: absent('train'),
    open: async (directory): Promise<Workplace> => {
      const opened = await openModel(directory, { weights, offline, container, ...downloads(to) });
      const { adapted, manifest, task, kind, model } = opened;
      return {
        adapted, task, answers: task.answers,
        batches: async function* () {
          const data = await openTaskData(task.data, task.features, task.dataSeed, demandOf({ kind, config: Object(model.config), by: directory }));
          yield* inputsOf({ ...opened, data }, data.splits.train, task.batchSize);
        },
        save: async (to, changed = {}) => {
          await writeWhole(join(to, opened.vocabulary.trimStart().startsWith('{') ? 'tokenizer.json' : 'vocab.txt'), new TextEncoder().encode(opened.vocabulary));
          const { config, weights: recorded, fingerprint } = manifest.base;
          await save(changed.adapted ?? adapted, fileStore(to), { config, fingerprint, task: changed.task ?? task, packages: Object.fromEntries(manifest.plugins.map((p) => [p.name, p.package])), ...(recorded !== undefined && { weights: recorded }) });
        },
        dispose: () => opened.dispose(),
      };
    },
    files: (directory) => ({ ...fileStore(directory), remove: (file) => rm(join(directory, file), { force: true }) }),
    report: (title, table, result) => {
      if (json) printJson(to, result);
      else to.out(`${title}\n\n${columns(table)}\n`);
    },
    signal: to.signal,
  };
}

interface Questions {
  readonly data: VqaData;
  readonly tokens: WordPiece;
  readonly model: VqaModel<unknown>;
  readonly adapted: Adapted<unknown>;
}

async function* inputsOf({ data, tokens, model }: Questions, records: readonly VqaRecord[], batchSize: number): AsyncGenerator<unknown> {
  for await (const batch of batches(records, { data, tokenizer: tokens, batchSize })) {
    const inputs = model.inputs(batch);
    try {
      yield inputs;
    } finally {
      tf.dispose(tensorsIn(inputs));
    }
  }
}
