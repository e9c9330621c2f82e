import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { CheckpointError } from '@espalier/core';
import { z } from 'zod';
import { isCommit, repositoryCache, type RepositoryCache } from './cache.ts';
import { isEtag } from './checksum.ts';
import { filesIn, type Pretrained } from './directory.ts';
import { provide, type RemoteFile } from './download.ts';
import { HubError } from './errors.ts';
import { BESIDE, isIndex, shardsOf, WEIGHTS } from './files.ts';
import { loadHub, type Hub } from './hub.ts';
import { settingsOf, type FetchOptions, type Settings } from './options.ts';
import { explained, requestOf, type Place } from './request.ts';

/**
 * The files of a model of the Hugging Face Hub, 'owner/name', through its cache. Fetched are config.json, tokenizer.json,
 * tokenizer_config.json and vocab.txt, then model.safetensors, else its shards, else pytorch_model.bin, else its shards;
 * nothing else. A download goes on where an earlier one stopped, every file is verified before it is in the cache, and
 * several processes may fetch the same. What the cache has whole of a commit is taken without asking anybody.
 * @throws HubError for what the Hub has not, refuses, or cannot be asked for; CheckpointError for corrupt files, unsafe
 * names and what is no id; OptionsError; the signal's reason when aborted.
 */
export async function fetchRepository(id: string, options: FetchOptions = {}): Promise<Pretrained> {
  const settings = settingsOf(options);
  settings.signal?.throwIfAborted();
  if (!isName(id)) throw new CheckpointError(`fetchRepository: '${id}' is no id of the Hub, which is 'owner/name' such as 'unc-nlp/lxmert-base-uncased'`);
  const hub = await loadHub(id);
  const cacheDir = settings.cacheDir ?? hub.getHFHubCachePath();
  const cache = repositoryCache(join(cacheDir, hub.getRepoFolderName({ type: 'model', name: id })));
  if (settings.localFilesOnly) return cached(id, cache, settings);
  return (await whole(cache, settings)) ?? fetched(id, cache, cacheDir, hub, settings);
}

export const isName = (id: string): boolean => /^[\w-][\w.-]*\/[\w-][\w.-]*$/.test(id);

/** What the cache has of a revision. */
async function cached(name: string, cache: RepositoryCache, { revision, weights }: Settings): Promise<Pretrained> {
  const missing = (what: string) => new HubError(`fetchPretrained: ${what}, and localFilesOnly forbids to fetch '${name}'. Call once without it where there is a network, or give a directory that holds the model's files.`);
  const commit = await cache.commitOf(revision);
  if (commit === undefined) throw missing(`${cache.folder} has no revision '${revision}'`);
  const directory = cache.snapshot(commit);
  const found = await filesIn(directory, { weights }).catch((e: unknown) => {
    throw e instanceof CheckpointError ? missing(e.message) : e;
  });
  const { files } = found;
  if (files.length === 0) throw missing(`${directory} has none of ${[...BESIDE, ...(weights ? WEIGHTS : [])].join(', ')}`);
  if (weights && !files.some((file) => WEIGHTS.includes(file))) throw missing(`${directory} has ${files.join(', ')} but none of ${WEIGHTS.join(', ')}`);
  return { ...found, commit };
}

/** What the cache has of a commit, where it is all that there is: every other file that could be fetched is known not to exist. */
async function whole(cache: RepositoryCache, { revision, weights }: Settings): Promise<Pretrained | undefined> {
  if (!isCommit(revision)) return undefined;
  const found = await filesIn(cache.snapshot(revision), { weights }).catch(() => undefined); // shards are missing
  const own = found?.files.find((file) => WEIGHTS.includes(file));
  if (!found || (weights && own === undefined)) return undefined;
  const preferred = own === undefined ? [] : WEIGHTS.slice(0, WEIGHTS.indexOf(own));
  for (const file of [...BESIDE, ...preferred]) if (!found.files.includes(file) && !(await cache.lacks(revision, file))) return undefined;
  return { ...found, commit: revision };
}

async function fetched(name: string, cache: RepositoryCache, cacheDir: string, hub: Hub, settings: Settings): Promise<Pretrained> {
  const { revision, weights, accessToken, signal, onProgress } = settings;
  const hubUrl = (settings.hubUrl ?? hub.HUB_URL).replace(/\/+$/, '');
  const request = requestOf({ hubUrl, accessToken, signal, fetch: settings.fetch });
  const place: Place = { name, revision, hubUrl, cacheDir, authorised: accessToken !== undefined };
  const asking = async <T>(what: string, ask: Promise<unknown>, schema: z.ZodType<T>): Promise<T> => {
    try {
      return schema.parse(await ask);
    } catch (e) {
      throw explained(e, what, place, signal);
    }
  };
  const commit = isCommit(revision)
    ? revision
    : (await asking('the revision', hub.modelInfo({ name, revision, hubUrl, fetch: request, additionalFields: ['sha'] }), Info)).sha;
  const list = async (paths: readonly string[]): Promise<ReadonlyMap<string, RemoteFile>> => {
    const found = await asking('the list of files', hub.pathsInfo({ repo: { type: 'model', name }, paths: [...paths], revision: commit, hubUrl, fetch: request }), Listing);
    return new Map(found.flatMap((file) => (file && paths.includes(file.path) ? [[file.path, file]] : [])));
  };
  const get = (file: RemoteFile) =>
    provide(cache, commit, file, {
      url: `${hubUrl}/${name}/resolve/${commit}/${file.path}`, place, request, signal,
      onReceived: (received) => onProgress({ file: file.path, received, total: file.size }),
    });

  const wanted = [...BESIDE, ...(weights ? WEIGHTS : [])];
  const listed = await list(wanted);
  const own = WEIGHTS.find((file) => listed.has(file));
  if (weights && !own) throw new HubError(`fetchPretrained: '${name}' at revision '${revision}' has none of ${WEIGHTS.join(', ')}: no weights that Espalier reads. It has ${[...listed.keys()].join(', ') || 'none of the other files either'}.`);
  const directory = cache.snapshot(commit);
  // Weights come last: where they are, everything is.
  for (const file of [...BESIDE, ...(own && isIndex(own) ? [own] : [])].flatMap((path) => listed.get(path) ?? [])) await get(file);
  if (own && isIndex(own)) {
    const shards = shardsOf(await readFile(join(directory, own), 'utf8'), `${own} of '${name}'`);
    const remote = await list(shards);
    const absent = shards.filter((shard) => !remote.has(shard));
    if (absent.length) throw new HubError(`fetchPretrained: ${own} of '${name}' names ${absent.join(', ')}, which the repository has not at revision '${revision}'`);
    for (const shard of remote.values()) await get(shard);
  } else if (own) await get(listed.get(own)!);
  for (const file of wanted) if (!listed.has(file) && !(await cache.lacks(commit, file))) await cache.noteAbsent(commit, file);
  await cache.remember(revision, commit);
  return { ...(await filesIn(directory, { weights })), commit };
}

const Info = z.looseObject({ sha: z.string().refine(isCommit, 'expected a commit') });

/** Small files have git's SHA-1, large ones the SHA-256 of their content. */
const Listing = z.array(
  z.looseObject({ path: z.string(), type: z.string(), size: z.int().nonnegative(), oid: z.string().optional(), lfs: z.looseObject({ oid: z.string(), size: z.int().nonnegative() }).nullish(), xetHash: z.string().nullish() })
    .transform(({ path, type, size, oid, lfs, xetHash }): RemoteFile | undefined => {
      // Without an entry of large files, the SHA-1 of a file in Xet would be that of its pointer.
      const etag = lfs?.oid ?? (xetHash ? undefined : oid) ?? '';
      return type === 'file' ? { path, size: lfs?.size ?? size, etag } : undefined;
    })
    .refine((file) => file === undefined || isEtag(file.etag), 'expected a checksum of 40 or 64 hexadecimal digits'),
);
