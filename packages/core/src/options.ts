import { z } from 'zod';
import { didYouMean } from './errors.ts';
import type { Select } from './select.ts';

const oneOrMore = <T extends z.ZodType>(of: T) => z.union([of, z.array(of).min(1).readonly()]);
const name = z.string().min(1);

/**
 * The schema of a `Select` inside a plugin's options: role, stream, block and path, nothing else. Whether the names
 * exist is known only when the plugin is attached to a model.
 */
export function selectSchema<R extends string>(): z.ZodType<Select<R>, Select<R>> {
  const isRole = (x: unknown) => typeof x === 'string' && x !== '';
  return z.strictObject({
    role: oneOrMore(z.custom<R>(isRole, 'expected the name of a role')).optional(),
    stream: oneOrMore(name).optional(),
    block: z
      .tuple([z.int().nonnegative(), z.int().positive()])
      .refine(([from, to]) => from < to, 'expected [from, to] with from < to; to is exclusive')
      .readonly()
      .optional(),
    path: oneOrMore(name).optional(),
  });
}

/** What a schema found wrong with the options of a plugin, in words, with the nearest names for unknown ones. */
export function explainIssues(who: string, schema: z.ZodType, error: z.ZodError): string {
  return plain(error.issues)
    .map((issue) => {
      if (issue.code !== 'unrecognized_keys') return `'${who}' ${issue.path.length ? `option '${issue.path.join('.')}'` : 'options'}: ${issue.message}`;
      const known = keysAt(schema, issue.path);
      return issue.keys
        .map((key) => `'${who}' has no option '${[...issue.path, key].join('.')}'.${didYouMean(key, known)} Options are ${known.join(', ')}.`)
        .join(' ');
    })
    .join('\n');
}

/** A union reports what is wrong in every branch: keeps the branch that came furthest. */
function plain(issues: readonly z.core.$ZodIssue[], at: readonly PropertyKey[] = []): z.core.$ZodIssue[] {
  return issues.flatMap((issue) => {
    const path = [...at, ...issue.path];
    if (issue.code !== 'invalid_union') return [{ ...issue, path }];
    const inner = issue.errors.map((branch) => plain(branch, path));
    const depth = (branch: readonly z.core.$ZodIssue[]) => Math.max(...branch.map((i) => i.path.length + (i.code === 'invalid_type' ? 0 : 1)));
    const [best] = inner.sort((a, b) => depth(b) - depth(a));
    return best ?? [{ ...issue, path }];
  });
}

/** The keys of the object at a path of a schema. */
function keysAt(schema: z.core.$ZodType, path: readonly PropertyKey[]): string[] {
  if (schema instanceof z.ZodOptional || schema instanceof z.ZodDefault || schema instanceof z.ZodReadonly) return keysAt(schema.unwrap(), path);
  if (schema instanceof z.ZodUnion) return [...new Set(schema.options.flatMap((option) => keysAt(option, path)))];
  if (schema instanceof z.ZodArray) return keysAt(schema.element, path.slice(1));
  if (!(schema instanceof z.ZodObject)) return [];
  const [key, ...rest] = path;
  if (key === undefined) return Object.keys(schema.shape);
  const inner = schema.shape[String(key)];
  return inner ? keysAt(inner, rest) : [];
}
