import { didYouMean, EspalierError, OptionsError, type Gradient, type ParameterPoint } from '@espalier/core';
import { z } from 'zod';
import type { Method } from './methods.ts';
import { optimiser, type NamedArrays, type Optimiser } from './optimiser.ts';
import { schedule as scheduled, type Schedule } from './schedule.ts';
import { parseSettings } from './settings.ts';

/** How the variables of one parameter group are moved. */
export interface GroupOptions {
  readonly method: Method;
  readonly rate: number; // peak learning rate
  readonly schedule?: Schedule; // default constant
  readonly clip?: number; // largest norm of this group's gradient; it then does not count in the global norm. Default: it counts there
}

const GroupSchema = z.strictObject({
  method: z.custom<Method>((x) => typeof x === 'object' && x !== null && 'chain' in x, 'expected a method such as adamW()'),
  rate: z.number().positive(),
  schedule: z.custom<Schedule>((x) => typeof x === 'object' && x !== null && 'factor' in x, "expected schedule({ shape: 'linear' })").optional(),
  clip: z.number().positive().or(z.literal(Infinity)).optional(),
});

/** One optimiser per parameter group ('default', 'policy', ...), each with its own rate and schedule. */
export interface Groups {
  /** What determines the numbers, as plain data. */
  readonly settings: Readonly<Record<string, unknown>>;
  /** Which groups are clipped by themselves, and the variables in them. */
  readonly apart: readonly { readonly name: string; readonly clip: number; readonly paths: ReadonlySet<string> }[];
  /** Moves the variables for update `step` of `total`, gradients multiplied by a scale for each group, and gives the rates it used, by group. */
  update(gradients: ReadonlyMap<string, Gradient>, step: number, total: number, scaleOf: (group: string) => number): Readonly<Record<string, number>>;
  save(): Promise<NamedArrays>;
  load(arrays: NamedArrays, file: string): void;
  dispose(): void;
}

interface Group {
  readonly name: string;
  readonly points: readonly ParameterPoint[];
  readonly optimiser: Optimiser;
  readonly rate: number;
  readonly schedule: Schedule;
}

/**
 * @throws OptionsError for a group that no trainable variable belongs to, with the nearest names, for one without an
 * optimiser, and for a wrong or unknown option.
 */
export function optimiserGroups(points: readonly ParameterPoint[], options: Readonly<Record<string, GroupOptions>>): Groups {
  if (points.length === 0) throw new EspalierError('fit: nothing is trainable here. Adapt the model with a plugin that has variables, or make one trainable.');
  const names = [...new Set(points.map((p) => p.group))];
  for (const [name, given] of Object.entries(options)) {
    if (!names.includes(name)) throw new OptionsError(`fit: no trainable variable is in the group '${name}'.${didYouMean(name, names)} There are ${names.join(', ')}.`);
    parseSettings(`fit: optimisers.${name}`, GroupSchema, given);
  }
  const chosen = names.map((name) => {
    const own = options[name];
    const members = points.filter((p) => p.group === name);
    if (!own) throw new OptionsError(`fit: ${members.length} variables of group '${name}' (${members[0]!.path}, ...) have no optimiser. Add optimisers.${name}.`);
    return { name, members, own };
  });
  const groups = chosen.map(({ name, members, own }): Group => ({
    name, points: members, optimiser: optimiser(own.method, members), rate: own.rate, schedule: own.schedule ?? scheduled(),
  }));
  return {
    settings: Object.fromEntries(
      chosen.map(({ name, members, own }, i) => {
        const chain = own.method.chain.map((t) => ({ name: t.name, ...t.settings(members) }));
        return [name, { method: own.method.name, chain, rate: own.rate, schedule: groups[i]!.schedule.settings, ...(own.clip !== undefined && { clip: String(own.clip) }) }];
      }),
    ),
    apart: chosen.flatMap(({ name, members, own: { clip } }) => (clip === undefined ? [] : [{ name, clip, paths: new Set(members.map((p) => p.path)) }])),
    update: (gradients, step, total, scaleOf) =>
      Object.fromEntries(
        groups.map((g) => {
          const rate = g.rate * g.schedule.factor(step, total);
          g.optimiser.update(gradients, rate, scaleOf(g.name));
          return [g.name, rate];
        }),
      ),
    save: async () => {
      const all = new Map();
      for (const g of groups) for (const [name, array] of await g.optimiser.save()) all.set(`${g.name}/${name}`, array);
      return all;
    },
    load: (arrays, file) => {
      const left = new Map(arrays);
      for (const g of groups) {
        const own = [...left].filter(([name]) => name.startsWith(`${g.name}/`));
        g.optimiser.load(new Map(own.map(([name, array]) => [name.slice(g.name.length + 1), array])), file);
        for (const [name] of own) left.delete(name);
      }
      const [extra] = left.keys();
      if (extra !== undefined) throw new OptionsError(`${file}: array '${extra}' belongs to no parameter group of this run, which has ${names.join(', ')}`);
    },
    dispose: () => groups.forEach((g) => g.optimiser.dispose()),
  };
}
