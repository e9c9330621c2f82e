import { rename, rm, writeFile } from 'node:fs/promises';

/** Writes a file whole or not at all: to a temporary name beside it, then renamed. */
export async function writeAtomically(file: string, content: Uint8Array | string): Promise<void> {
  const temporary = `${file}.${process.pid}.partial`;
  try {
    await writeFile(temporary, content);
    await rename(temporary, file);
  } catch (e) {
    await rm(temporary, { force: true });
    throw e;
  }
}
