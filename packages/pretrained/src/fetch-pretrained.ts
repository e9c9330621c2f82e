import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { CheckpointError } from '@espalier/core';
import { z } from 'zod';
import { isCommit, repositoryCache, type RepositoryCache } from './cache.ts';
import { isEtag } from './checksum.ts';
import { filesIn, filesOf, statIfThere, type Pretrained } from './directory.ts';
import { provide, type RemoteFile } from './download.ts';
import { HubError } from './errors.ts';
import { BESIDE, isIndex, shardsOf, WEIGHTS } from './files.ts';
import { loadHub, type Hub } from './hub.ts';
import { settingsOf, type FetchOptions, type Settings } from './options.ts';
import { explained, requestOf, type Place } from './request.ts';

/**
 * The files of a pretrained model: of a directory or a file of weights as it lies, or of 'owner/name' on the Hugging Face
 * Hub, through its cache. Fetched are config.json, tokenizer.json and vocab.txt, then model.safetensors, else its shards, else
 * pytorch_model.bin, else its shards; nothing else. A download goes on where an earlier one stopped, every file is verified
 * before it is in the cache, and several processes may fetch the same. A path that exists goes before an id.
 * @throws HubError for what the Hub has not, refuses, or cannot be asked for; CheckpointError for corrupt files and unsafe
 * names; OptionsError; the signal's reason when aborted.
 */
export async function fetchPretrained(from: string, options: FetchOptions = {}): Promise<Pretrained> {
  const settings = settingsOf(options);
  settings.signal?.throwIfAborted();
  const found = await statIfThere(from);
  if (found?.isDirectory()) return filesIn(from, settings);
  if (found) return filesOf(from);
  if (!isName(from)) throw new CheckpointError(`fetchPretrained: '${from}' is neither a directory or file here nor an id of the Hub, which is 'owner/name' such as 'unc-nlp/lxmert-base-uncased'`);
  const hub = await loadHub(from);
  const cacheDir = settings.cacheDir ?? hub.getHFHubCachePath();
  const cache = repositoryCache(join(cacheDir, hub.getRepoFolderName({ type: 'model', name: from })));
  return settings.localFilesOnly ? cached(from, cache, settings) : fetched(from, cache, cacheDir, hub, settings);
}

const isName = (id: string): boolean => /^[\w-][\w.-]*\/[\w-][\w.-]*$/.test(id);

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
  return found;
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

  const listed = await list([...BESIDE, ...(weights ? WEIGHTS : [])]);
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
  await cache.remember(revision, commit);
  return filesIn(directory, { weights });
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
