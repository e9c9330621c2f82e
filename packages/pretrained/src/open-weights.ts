import { readFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { openCheckpoint, openSharded, type Checkpoint } from '@espalier/checkpoints';
import { fileSource } from './file-source.ts';
import { isIndex } from './files.ts';

/** Opens a file of weights of any format, or an index (`*.index.json`) with the shards beside it. @throws CheckpointError; nothing is then left open. */
export async function openWeights(file: string): Promise<Checkpoint> {
  if (isIndex(file)) return openSharded(await readFile(file, 'utf8'), (name) => fileSource(join(dirname(file), name)), file);
  const source = await fileSource(file);
  try {
    return await openCheckpoint(source);
  } catch (e) {
    await source.close();
    throw e;
  }
}
