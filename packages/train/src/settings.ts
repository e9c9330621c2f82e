import { didYouMean, OptionsError } from '@espalier/core';
import type { z } from 'zod';

/** Options as a strict schema reads them, defaults filled in. @throws OptionsError naming `who`, the option, what was found and the nearest names. */
export function parseSettings<T>(who: string, schema: z.ZodObject & z.ZodType<T>, given: unknown): T {
  const parsed = schema.safeParse(given);
  if (parsed.success) return parsed.data;
  const known = Object.keys(schema.shape);
  const lines = parsed.error.issues.map((issue) => {
    const path = issue.path.join('.');
    if (issue.code !== 'unrecognized_keys') return `${who}: option '${path}': ${issue.message}`;
    return issue.keys.map((key) => `${who} has no option '${[...issue.path, key].join('.')}'.${didYouMean(key, known)} Options are ${known.join(', ')}.`).join(' ');
  });
  throw new OptionsError(lines.join('\n'));
}
