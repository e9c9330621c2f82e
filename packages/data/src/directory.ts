import { readdir } from 'node:fs/promises';
import path from 'node:path';
import { DataError, reasonOf } from './errors.ts';

/** The names in a directory, sorted. @throws DataError ending in `layout` when it cannot be listed. */
export async function namesIn(directory: string, layout: string): Promise<readonly string[]> {
  try {
    return (await readdir(directory)).sort();
  } catch (e) {
    throw new DataError(`${directory} cannot be listed (${reasonOf(e)}). ${layout}`);
  }
}

/** The file that the first fitting pattern means. @throws DataError when two names fit one pattern. */
export function fileIn(directory: string, names: readonly string[], wanted: readonly RegExp[]): string | undefined {
  for (const pattern of wanted) {
    const [first, second] = names.filter((name) => pattern.test(name));
    if (second) throw new DataError(`${directory}: both ${first} and ${second} could be meant. Keep one of them there.`);
    if (first) return path.join(directory, first);
  }
  return undefined;
}
