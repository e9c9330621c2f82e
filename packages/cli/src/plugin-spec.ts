import { z } from 'zod';
import { UsageError } from './errors.ts';
import { parseJson } from './json.ts';

/** One use of a plugin, as a configuration names it. */
export interface PluginSpec {
  readonly name: string; // 'lora', a package, or a path
  readonly as?: string | undefined; // 'a' makes the instance 'lora#a'
  readonly options: unknown;
}

const FORM = `Write NAME, NAME:{"option":value} or NAME#INSTANCE:{...}, for example 'lora:{"rank":8}'.`;

/**
 * Reads `NAME`, `NAME:{json}` and `NAME#INSTANCE:{json}`. What is bare stands for `@espalier/NAME`, what has a scope,
 * slash or path for a package or file. @throws UsageError showing where the JSON is malformed.
 */
export function parsePluginSpec(text: string): PluginSpec {
  const brace = text.indexOf(':{');
  const colon = brace >= 0 ? brace : bareColon(text);
  const head = colon < 0 ? text : text.slice(0, colon);
  const [, name = '', as] = /^(.*?)(?:#([^#/\\]*))?$/s.exec(head) ?? [];
  if (name.trim() === '') throw new UsageError(`plugin '${text}': the name is missing. ${FORM}`);
  if (as === '') throw new UsageError(`plugin '${text}': the instance's name is missing after '#'. ${FORM}`);
  const options = colon < 0 ? {} : parseJson(text.slice(colon + 1), `plugin '${head}', options`);
  return { name, ...(as !== undefined && { as }), options };
}

/** The colon before options that are no object; -1 for that of a path such as C:\plugins\mine.js or file:///mine.js. */
function bareColon(text: string): number {
  const colon = text.indexOf(':');
  return colon >= 0 && !/^[\\/]/.test(text.slice(colon + 1)) ? colon : -1;
}

/** A plugin in a configuration: the text form of the command line, or its parts. */
export const PluginEntry = z.union([
  z.string().min(1),
  z.strictObject({ name: z.string().min(1), as: z.string().min(1).optional(), options: z.record(z.string(), z.unknown()).default({}) }),
]);

/** All plugins of a configuration. @throws UsageError. */
export const pluginSpecs = (entries: readonly z.output<typeof PluginEntry>[]): PluginSpec[] =>
  entries.map((entry) => (typeof entry === 'string' ? parsePluginSpec(entry) : entry));
