import { didYouMean, EspalierError } from '@espalier/core';
import type { z } from 'zod';

/** Data that is not what its reader was promised; the message names file, line or key, and the remedy. */
export class DataError extends EspalierError {
  override name = 'DataError';
}

/** What was thrown, as text. */
export function reasonOf(thrown: unknown): string {
  return thrown instanceof Error ? thrown.message : String(thrown);
}

/** A schema's complaints in one line: `key: what`, with the nearest of the `known` names for a misspelt key. */
export function issuesOf(error: z.ZodError, known: readonly string[] = []): string {
  return error.issues
    .map((issue) => {
      const at = issue.path.join('.');
      if (issue.code === 'unrecognized_keys')
        return issue.keys.map((key) => `no option '${[...issue.path, key].join('.')}'.${didYouMean(key, known)} Options are ${known.join(', ')}`).join('; ');
      return at ? `${at}: ${issue.message}` : issue.message;
    })
    .join('; ');
}

/** Options checked and completed by a strict schema. @throws DataError `who: option: what`, with the nearest option name. */
export function parseOptions<S extends z.ZodObject>(who: string, schema: S, given: unknown): z.output<S> {
  const parsed = schema.safeParse(given);
  if (!parsed.success) throw new DataError(`${who}: ${issuesOf(parsed.error, Object.keys(schema.shape))}`);
  return parsed.data;
}
