import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { CheckpointError } from '@espalier/core';
import type { RepositoryCache } from './cache.ts';
import { etagOf } from './checksum.ts';
import { statIfThere } from './directory.ts';
import { openPartial } from './partial.ts';
import { transfer, type Transfer } from './transfer.ts';

/** A file of a repository, as the Hub describes it. */
export interface RemoteFile {
  readonly path: string;
  readonly size: number;
  readonly etag: string;
}

/** Sees to it that a snapshot has a file: it is there, or its content is, or it is downloaded and verified. @throws CheckpointError when its content is not what the Hub announced. */
export async function provide(cache: RepositoryCache, commit: string, { path, size, etag }: RemoteFile, given: Omit<Transfer, 'file' | 'size'>): Promise<void> {
  if ((await statIfThere(join(cache.snapshot(commit), path)))?.size === size) return;
  const blob = cache.blob(etag);
  const found = await statIfThere(blob);
  if (found?.size !== size) {
    if (found) await rm(blob, { force: true }); // cut off by whatever wrote it
    await download(blob, etag, { ...given, file: path, size });
  }
  await cache.link(etag, commit, path);
}

async function download(blob: string, etag: string, given: Transfer): Promise<void> {
  const { file, size, place, signal } = given;
  const partial = await openPartial(blob);
  try {
    await transfer(partial, given);
    const found = await etagOf(partial.path, size, etag, signal);
    if (found !== etag) {
      await partial.discard();
      throw new CheckpointError(`fetchPretrained: ${file} of '${place.name}' is corrupt: its checksum is ${found}, the Hub announces ${etag}. It has been deleted; call again to download it anew.`);
    }
    await partial.publish();
  } catch (e) {
    await partial.release();
    throw signal?.aborted ? signal.reason : e;
  }
}
