import { isAbsolute, resolve } from 'node:path';
import type { Plugin, PluginFactory } from '@espalier/core';
import { gift } from '@espalier/gift';
import { lora } from '@espalier/lora';
import { spottune } from '@espalier/spottune';
import { tangent } from '@espalier/tangent';
import { toast } from '@espalier/toast';
import { composition, pluginOf, registerPlugin } from '@espalier/train';
import { tune } from '@espalier/tune';
import { pluginSpecs, type PluginEntry } from './plugin-spec.ts';
import type { z } from 'zod';

/** The container that plugins and a run's services are resolved from. */
export type Container = ReturnType<typeof composition>;

/** The composition root of the command: knows the plugins that come with it. */
export function compositionRoot(): Container {
  const container = composition();
  registerPlugin(container, gift);
  registerPlugin(container, lora);
  registerPlugin(container, spottune);
  registerPlugin(container, tangent);
  registerPlugin(container, toast);
  registerPlugin(container, tune);
  return container;
}

/** Plugins of a configuration, and which package a manifest must name for those that are not `@espalier/METHOD`. */
export interface ResolvedPlugins {
  readonly plugins: readonly Plugin[];
  readonly packages: Readonly<Record<string, string>>;
}

/** @throws EspalierError for a plugin that cannot be found, with the nearest names, and for options it refuses. */
export async function resolvePlugins(container: Container, entries: readonly z.output<typeof PluginEntry>[]): Promise<ResolvedPlugins> {
  const plugins: Plugin[] = [];
  const packages: Record<string, string> = {};
  for (const { name, as, options } of pluginSpecs(entries)) {
    const from = /^\.{1,2}[\\/]/.test(name) ? resolve(name) : name;
    const factory = await factoryOf(container, from);
    plugins.push(factory.from(options, as === undefined ? {} : { as }));
    if (isAbsolute(from) || from.includes('/')) packages[factory.method] = from;
  }
  return { plugins, packages };
}

/** The factory of a saved plugin. */
export const restorerOf = (container: Container) => (method: string, from: string): Promise<PluginFactory> =>
  pluginOf(container, from, { method, from: [import.meta.url] });

const factoryOf = (container: Container, name: string): Promise<PluginFactory> => pluginOf(container, name, { from: [import.meta.url] });

/** The task head, as every training adds it. */
export const headPlugin = (answers?: number, trainable = true): Plugin => tune({ preset: 'head', ...(answers !== undefined && { answers }) }, { as: 'head', trainable });

/** Plugins with the task head: trained after them, or frozen before one that linearises it. */
export function withHead(plugins: readonly Plugin[], answers?: number): readonly Plugin[] {
  const linear = plugins.some((p) => p.linearises);
  return linear ? [headPlugin(answers, false), ...plugins] : [...plugins, headPlugin(answers)];
}
