import { EspalierError, pluginCommand, type Application, type PluginCommand } from '@espalier/core';
import { z } from 'zod';
import type { Component } from './component.ts';
import { compose as composed, influence as influenceOf, remove as removed, type Composition, type Weights } from './composition.ts';
import { parallel } from './privacy-record.ts';
import { componentsIn, readComposition, removeFile, writeModel } from './saved.ts';

const text = z.string().min(1);
const directory = text.meta({ description: 'directory of a composition (the --to of compose)', value: 'DIR' });

const compose = pluginCommand({
  name: 'compose',
  says: 'Make one model of tangents trained apart on the same base: the mean of their answers at the cost of one',
  examples: ['espalier compose --model out/shard-1 --model out/shard-2 --to out/both', 'espalier compose --model out/both --model out/shard-3 --to out/three --component-weights samples'],
  works: 'models',
  settings: z.strictObject({
    model: z.array(text).min(1).meta({ description: 'directory of a model trained with tangent, or of a composition, whose components are taken; may be repeated', value: 'DIR' }),
    to: text.meta({ description: 'directory for the composition', value: 'DIR' }),
    componentWeights: text.default('uniform').meta({ description: 'uniform, samples (by the samples that each has seen), or one number for each, separated by commas', value: 'WHICH' }),
    sum: z.boolean().default(false).meta({ description: 'allow weights that do not sum to one' }),
  }),
  run: async ({ model: directories, to, componentWeights, sum }, application) => {
    if (await application.files(to).read('manifest.json')) throw new EspalierError(`--to ${to} holds a model already: give the composition a directory of its own`);
    const all: Component[] = [];
    for (const from of directories) {
      const opened = await application.open(from);
      try {
        all.push(...(await componentsIn(from, opened, application)).components);
      } finally {
        opened.dispose();
      }
    }
    const composition = composed(all, { weights: weightsFrom(componentWeights), sum });
    const opened = await application.open(directories[0]!);
    try {
      const { instance } = await componentsIn(directories[0]!, opened, application);
      await writeModel(opened, composition, instance, to, application);
    } finally {
      opened.dispose();
    }
    application.report(`${composition.parts.length} components composed in ${to}${privacyOf(composition)}`, tableOf(composition), { type: 'composition', directory: to, ...described(composition) });
  },
});

const remove = pluginCommand({
  name: 'remove',
  says: 'Take a component, and with it all that it learned, out of a composition',
  examples: ['espalier remove --model out/both --component shard-1', 'espalier remove --model out/both --component shard-1 --to out/without'],
  works: 'models',
  settings: z.strictObject({
    model: directory,
    component: text.meta({ description: 'its name', value: 'ID' }),
    to: text.optional().meta({ description: 'directory for what is left; default in place, its file deleted', value: 'DIR' }),
  }),
  run: async ({ model: from, component, to = from }, application) => {
    if (to !== from && (await application.files(to).read('manifest.json'))) throw new EspalierError(`--to ${to} holds a model already: give what is left a directory of its own`);
    const opened = await application.open(from);
    try {
      const { composition, instance } = await compositionIn(from, application);
      const left = removed(composition, component);
      await writeModel(opened, left, instance, to, application);
      if (to === from) await removeFile(application.files(from), component);
      application.report(`'${component}' removed; ${to} is what composing the others gives, bit for bit`, tableOf(left), { type: 'removal', removed: component, directory: to, ...described(left) });
    } finally {
      opened.dispose();
    }
  },
});

const influence = pluginCommand({
  name: 'influence',
  says: 'How far every component of a composition is from the mean of the others',
  examples: ['espalier influence --model out/both', 'espalier influence --model out/both --json'],
  works: 'models',
  settings: z.strictObject({ model: directory }),
  run: async ({ model: from }, application) => {
    const { composition } = await compositionIn(from, application);
    const rows = composition.parts
      .map(({ component: { id, shard }, weight }) => ({ id, weight, influence: influenceOf(composition, id), ...(shard && { samples: shard.samples }) }))
      .sort((a, b) => b.influence - a.influence);
    const table = rows.map((r) => [r.id, r.weight.toFixed(4), r.influence.toPrecision(5), String(r.samples ?? '')]);
    application.report(`Influence of the components of ${from}`, [['component', 'weight', 'influence', 'samples'], ...table], { type: 'influence', directory: from, components: rows });
  },
});

/** What `espalier` shows of tangents beside its own commands. */
export const commands: readonly PluginCommand[] = [compose, remove, influence];

async function compositionIn(from: string, application: Application) {
  const held = await readComposition(application.files(from), from);
  if (!held) throw new EspalierError(`${from} is no composition: make one by espalier compose --model ${from} --to DIR`);
  return held;
}

function weightsFrom(given: string): Weights {
  if (given === 'uniform' || given === 'samples') return given;
  const numbers = given.split(',').map((x) => (x.trim() === '' ? NaN : Number(x)));
  if (!numbers.every(Number.isFinite)) throw new EspalierError(`--component-weights ${given}: expected uniform, samples, or numbers such as 0.5,0.3,0.2`);
  return numbers;
}

const tableOf = ({ parts }: Composition): string[][] => [['component', 'weight', 'samples'], ...parts.map(({ component: { id, shard }, weight }) => [id, weight.toFixed(4), String(shard?.samples ?? '')])];

const described = (composition: Composition) => ({
  components: composition.parts.map(({ component: { id, shard, privacy }, weight }) => ({ id, weight, ...(shard && { shard }), ...(privacy && { epsilon: privacy.epsilon }) })),
  privacy: parallel(composition.parts.map((p) => p.component)) ?? null,
});

function privacyOf({ parts }: Composition): string {
  const found = parallel(parts.map((p) => p.component));
  if (found) return `, (${found.epsilon.toPrecision(4)}, ${found.delta})-differentially private as a whole`;
  return parts.some((p) => p.component.privacy) ? '; no privacy of the whole: a component is not private, or samples may be in two of them' : '';
}
