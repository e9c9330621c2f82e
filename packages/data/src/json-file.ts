import { readFile } from 'node:fs/promises';
import type { z } from 'zod';
import { DataError, reasonOf } from './errors.ts';
import { parseJson } from './json.ts';

/** The text of a UTF-8 file. @throws DataError naming the file and `remedy` when it cannot be read. */
export async function readText(file: string, remedy: string): Promise<string> {
  try {
    return await readFile(file, 'utf8');
  } catch (e) {
    throw new DataError(`${file} cannot be read (${reasonOf(e)}). ${remedy}`);
  }
}

/** `readText`, then `parseJson`. */
export async function readJson<T>(file: string, schema: z.ZodType<T>, remedy: string): Promise<T> {
  return parseJson(await readText(file, remedy), schema, file);
}
