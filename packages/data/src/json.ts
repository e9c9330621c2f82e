import type { z } from 'zod';
import { DataError, issuesOf, reasonOf } from './errors.ts';

/** Parses JSON text against a schema. @throws DataError naming the file and the line or key that is wrong. */
export function parseJson<T>(text: string, schema: z.ZodType<T>, file: string): T {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (e) {
    const reason = reasonOf(e);
    const at = /position (\d+)/.exec(reason)?.[1];
    const line = at === undefined ? text.split('\n').length : text.slice(0, Number(at)).split('\n').length;
    throw new DataError(`${file}, line ${line}: not JSON (${reason}). Was the file cut off?`);
  }
  const parsed = schema.safeParse(value);
  if (!parsed.success) throw new DataError(`${file}: ${issuesOf(parsed.error)}`);
  return parsed.data;
}
