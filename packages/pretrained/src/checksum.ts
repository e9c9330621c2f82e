import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { pipeline } from 'node:stream/promises';

/** What names a file by its content: the SHA-256 of a large one, git's SHA-1 of a small one. It is also its name in the cache. */
export const isEtag = (text: string): boolean => /^([0-9a-f]{40}|[0-9a-f]{64})$/.test(text);

/** The etag of a file's content, of the kind that `like` is: 64 digits SHA-256(content), 40 digits SHA-1('blob SIZE\\0' + content). */
export async function etagOf(path: string, size: number, like: string, signal?: AbortSignal): Promise<string> {
  const hash = like.length === 64 ? createHash('sha256') : createHash('sha1').update(`blob ${size}\0`);
  await pipeline(createReadStream(path), hash, { ...(signal && { signal }) });
  return hash.digest('hex');
}
