import { randomUUID } from 'node:crypto';
import { copyFile, mkdir, readFile, rename, rm, symlink, writeFile } from 'node:fs/promises';
import { dirname, join, relative } from 'node:path';
import { statIfThere } from './directory.ts';
import { codeOf } from './errors.ts';

/**
 * One repository in the cache, laid out as Hugging Face's own clients do, so that they share it:
 * `blobs/ETAG` are the files, `snapshots/COMMIT/NAME` links to them, `refs/REVISION` the commit of a branch or tag, and
 * `.no_exist/COMMIT/NAME` says that a commit has no such file.
 */
export interface RepositoryCache {
  readonly folder: string;
  blob(etag: string): string;
  snapshot(commit: string): string;
  /** The commit of a revision when it was fetched last. */
  commitOf(revision: string): Promise<string | undefined>;
  remember(revision: string, commit: string): Promise<void>;
  noteAbsent(commit: string, name: string): Promise<void>;
  lacks(commit: string, name: string): Promise<boolean>;
  /** Puts a blob into a snapshot under a name. */
  link(etag: string, commit: string, name: string): Promise<void>;
}

/** A commit, as refs and snapshots name it. */
export const isCommit = (revision: string): boolean => /^[0-9a-f]{40}$/.test(revision);

export function repositoryCache(folder: string): RepositoryCache {
  const ref = (revision: string) => join(folder, 'refs', revision);
  const blob = (etag: string) => join(folder, 'blobs', etag);
  const snapshot = (commit: string) => join(folder, 'snapshots', commit);
  const absent = (commit: string, name: string) => join(folder, '.no_exist', commit, name);
  return {
    folder, blob, snapshot,
    noteAbsent: (commit, name) => replace(absent(commit, name), (path) => writeFile(path, '')),
    lacks: async (commit, name) => (await statIfThere(absent(commit, name))) !== undefined,
    commitOf: async (revision) => {
      if (isCommit(revision)) return revision;
      if (!(await statIfThere(ref(revision)))?.isFile()) return undefined;
      const commit = (await readFile(ref(revision), 'utf8')).trim();
      return isCommit(commit) ? commit : undefined;
    },
    remember: (revision, commit) => (isCommit(revision) ? Promise.resolve() : replace(ref(revision), (path) => writeFile(path, commit))),
    link: (etag, commit, name) => {
      const target = join(snapshot(commit), name);
      return replace(target, async (path) => {
        try {
          await symlink(relative(dirname(target), blob(etag)), path);
        } catch (e) {
          // Windows without developer mode, and file systems that have no links
          if (!['EPERM', 'EACCES', 'ENOSYS', 'ENOTSUP', 'EINVAL'].includes(codeOf(e) ?? '')) throw e;
          await copyFile(blob(etag), path);
        }
      });
    },
  };
}

/** Makes a file under another name and renames it: whoever looks sees the old one or the new one. */
async function replace(path: string, make: (temporary: string) => Promise<void>): Promise<void> {
  await mkdir(dirname(path), { recursive: true });
  const temporary = `${path}.${randomUUID()}.tmp`;
  try {
    await make(temporary);
    await rename(temporary, path);
  } catch (e) {
    await rm(temporary, { force: true });
    throw e;
  }
}
