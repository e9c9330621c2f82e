import { didYouMean, explainIssues, type Adapted, type GroupDefaults } from '@espalier/core';
import { schedule, type GroupOptions } from '@espalier/train';
import { z } from 'zod';
import { UsageError } from './errors.ts';
import { parseJson } from './json.ts';
import { OPTIMISERS, optimiserNamed } from './optimisers.ts';
import { CLIP, SCHEDULES, type TrainSettings } from './settings.ts';

/** How the variables of one parameter group are moved; what is left out is as the group's plugin says, then as for all others. */
const GroupSettings = z.strictObject({
  optimiser: z.enum(OPTIMISERS).optional(),
  lr: z.number().positive().optional(),
  weightDecay: z.number().nonnegative().optional(),
  schedule: z.enum(SCHEDULES).optional(),
  warmup: z.number().nonnegative().optional(),
  clip: CLIP.or(z.literal('shared')).optional(), // shared: counted in the norm of all others
});
type GroupSettings = z.infer<typeof GroupSettings>;

type Settings = Pick<z.output<typeof TrainSettings>, 'optimiser' | 'lr' | 'weightDecay' | 'schedule' | 'warmup' | 'group'>;

/**
 * An optimiser for each parameter group of a model: the run's own, changed by what the group's plugin asks for, changed by
 * what was given for the group. @throws UsageError for a group that the model has not, with the nearest, and for a wrong setting.
 */
export function groupOptions({ trainable, groups }: Pick<Adapted<unknown>, 'trainable' | 'groups'>, settings: Settings): Record<string, GroupOptions> {
  const names = [...new Set(trainable.map((p) => p.group))];
  const given = new Map<string, GroupSettings>();
  for (const entry of settings.group) {
    const [name, own] = groupEntry(entry);
    if (!names.includes(name)) throw new UsageError(`--group '${name}': no trained variable is in it.${didYouMean(name, names)} There are ${names.join(', ')}.`);
    given.set(name, { ...given.get(name), ...own });
  }
  return Object.fromEntries(names.map((name) => [name, optionsOf(settings, fromPlugin(name, groups.get(name)), given.get(name) ?? {})]));
}

/** Whether the settings of a run can be met at all, said before anything is built. @throws UsageError. */
export function checkGroups(settings: Settings): void {
  optionsOf(settings, {}, {});
  settings.group.forEach(groupEntry);
}

type Way = Pick<Settings, 'optimiser' | 'lr' | 'weightDecay' | 'schedule' | 'warmup'>;

function optionsOf(run: Way, plugin: GroupSettings, own: GroupSettings): GroupOptions {
  const { optimiser, lr, weightDecay, schedule: shape, warmup } = changed(changed(run, plugin), own);
  const { method, progress } = optimiserNamed(optimiser, weightDecay);
  const clip = own.clip ?? plugin.clip ?? 'shared';
  return {
    method,
    rate: lr,
    schedule: schedule({ shape, warmup: warmup < 1 ? { fraction: warmup } : { steps: Math.round(warmup) }, progress }),
    ...(clip !== 'shared' && { clip: clip === 'none' ? Infinity : clip }),
  };
}

const changed = (way: Way, { optimiser = way.optimiser, lr = way.lr, weightDecay, schedule: shape = way.schedule, warmup = way.warmup }: GroupSettings): Way => ({
  optimiser, lr, schedule: shape, warmup,
  weightDecay: weightDecay ?? (optimiser === way.optimiser ? way.weightDecay : undefined), // another optimiser brings its own
});

/** What a plugin asks for, in the words of the command. */
function fromPlugin(name: string, { rate, ...defaults }: GroupDefaults = {}): GroupSettings {
  return checked(`a plugin's group ${name}`, { ...defaults, ...(rate !== undefined && { lr: rate }) });
}

/** 'NAME:{json}', or its parts from a configuration file. */
function groupEntry(entry: Settings['group'][number]): readonly [string, GroupSettings] {
  if (typeof entry !== 'string') {
    const { name, ...own } = entry;
    return [name, checked(`group ${name}`, own)];
  }
  const [, name = '', json = ''] = /^([^:]*)(?::(.*))?$/s.exec(entry) ?? [];
  if (!name.trim() || !json.trim()) throw new UsageError(`--group '${entry}': write NAME:{"setting":value}, for example 'policy:{"lr":1e-2,"schedule":"constant"}'`);
  return [name, checked(`--group ${name}`, parseJson(json, `--group '${name}', settings`))];
}

function checked(who: string, given: unknown): GroupSettings {
  const parsed = GroupSettings.safeParse(given);
  if (!parsed.success) throw new UsageError(explainIssues(who, GroupSettings, parsed.error));
  return parsed.data;
}
