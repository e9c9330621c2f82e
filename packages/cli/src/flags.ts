import { readFile } from 'node:fs/promises';
import { didYouMean } from '@espalier/core';
import { Option, type Command } from 'commander';
import { z } from 'zod';
import { reasonOf, UsageError } from './errors.ts';
import { parseJson } from './json.ts';

const Meta = z.looseObject({ description: z.string().default(''), value: z.string().optional() });
const flagOf = (key: string) => `--${key.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`;

/** Gives a command one flag per key of a schema: `batchSize` is `--batch-size`. */
export function addFlags(command: Command, schema: z.ZodObject): Command {
  for (const [key, field] of Object.entries(schema.shape)) {
    const { description, value } = Meta.parse(z.globalRegistry.get(field) ?? {});
    const initial = field instanceof z.ZodDefault && !accepts(field, z.ZodBoolean, z.ZodArray) ? ` (default ${String(field.parse(undefined))})` : '';
    const required = isRequired(field) ? ' (required)' : '';
    const option = new Option(accepts(field, z.ZodBoolean) ? flagOf(key) : `${flagOf(key)} <${value ?? 'value'}>`, description + initial + required);
    // A repeated flag collects its values; any other is taken once.
    if (accepts(field, z.ZodArray)) option.argParser((given: string, before: string[] | undefined) => [...(before ?? []), given]);
    command.addOption(option);
  }
  return command;
}

/**
 * Options from flags and, where `config` names one, from a JSON file; flags win. Checked and completed by the schema.
 * @throws UsageError naming the flag or the file's key, with the nearest names for an unknown one.
 */
export async function readSettings<S extends z.ZodObject>(schema: S, flags: Readonly<Record<string, unknown>>): Promise<z.output<S>> {
  const file = flags['config'] === undefined ? undefined : String(flags['config']);
  const given = Object.fromEntries(Object.entries(flags).map(([key, value]) => [key, numeric(schema.shape[key], value)]));
  return parseSettings(schema, { ...(file !== undefined && (await readConfig(file, schema))), ...given }, (key) =>
    key in given || file === undefined ? flagOf(key) : `${file}: '${key}'`,
  );
}

/** Options checked and completed by a schema. @throws UsageError naming each by `where`. */
export function parseSettings<S extends z.ZodObject>(schema: S, given: Readonly<Record<string, unknown>>, where: (key: string) => string = (key) => `option '${key}'`): z.output<S> {
  const parsed = schema.safeParse(given);
  if (parsed.success) return parsed.data;
  const known = Object.keys(schema.shape);
  const lines = parsed.error.issues.map((issue) => {
    const [key = '', ...inner] = issue.path.map(String);
    if (issue.code === 'unrecognized_keys') {
      const field = schema.shape[key];
      return issue.keys.map((k) => (field ? unknownKey(where([key, ...inner].join('.')), k, keysIn(field)) : unknownKey('options', k, known))).join('\n');
    }
    if (given[key] === undefined) return `${where(key)} is missing: ${Meta.parse(z.globalRegistry.get(schema.shape[key] ?? z.unknown()) ?? {}).description}`;
    const value = given[key];
    const near = issue.code === 'invalid_value' && typeof value === 'string' ? didYouMean(value, issue.values.map(String)) : '';
    return `${where([key, ...inner].join('.'))} is ${JSON.stringify(value)}: ${issue.message}.${near}`;
  });
  throw new UsageError(lines.join('\n'));
}

/** A configuration file's entries, its unknown keys refused. */
async function readConfig(file: string, schema: z.ZodObject): Promise<Record<string, unknown>> {
  let text: string;
  try {
    text = await readFile(file, 'utf8');
  } catch (e) {
    throw new UsageError(`--config ${file} cannot be read (${reasonOf(e)})`);
  }
  const entries = z.record(z.string(), z.unknown()).safeParse(parseJson(text, file));
  if (!entries.success) throw new UsageError(`${file} is no JSON object of options such as {"backbone":"lxmert","epochs":3}`);
  const known = Object.keys(schema.shape).filter((key) => key !== 'config');
  const unknown = Object.keys(entries.data).filter((key) => !known.includes(key));
  if (unknown.length) throw new UsageError(unknown.map((key) => unknownKey(file, key, known)).join('\n'));
  return entries.data;
}

const unknownKey = (where: string, key: string, known: readonly string[]) => `${where}: there is no option '${key}'.${didYouMean(key, known)} Options are ${known.join(', ')}.`;

/** The text of a flag as a number, where the option takes one and the text is one. */
function numeric(field: z.core.$ZodType | undefined, value: unknown): unknown {
  if (typeof value !== 'string' || value.trim() === '' || !field || !accepts(field, z.ZodNumber)) return value;
  const number = Number(value);
  return Number.isFinite(number) ? number : value;
}

type Kind = typeof z.ZodBoolean | typeof z.ZodArray | typeof z.ZodNumber;

/** Whether a schema, or one it wraps or unites, is of a kind. */
function accepts(field: z.core.$ZodType, ...kinds: readonly Kind[]): boolean {
  if (field instanceof z.ZodOptional || field instanceof z.ZodDefault) return accepts(field.unwrap(), ...kinds);
  if (field instanceof z.ZodUnion) return field.options.some((inner) => accepts(inner, ...kinds));
  return kinds.some((kind) => field instanceof kind);
}

/** The keys of the objects in a schema. */
function keysIn(field: z.core.$ZodType): string[] {
  if (field instanceof z.ZodOptional || field instanceof z.ZodDefault) return keysIn(field.unwrap());
  if (field instanceof z.ZodArray) return keysIn(field.element);
  if (field instanceof z.ZodUnion) return field.options.flatMap(keysIn);
  return field instanceof z.ZodObject ? Object.keys(field.shape) : [];
}

const isRequired = (field: z.core.$ZodType): boolean => !(field instanceof z.ZodOptional || field instanceof z.ZodDefault);
