import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, readlinkSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { CheckpointError, EspalierError, OptionsError } from '@espalier/core';
import { scanCachedRepo } from '@huggingface/hub';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { etagOf, hubServer, type HubServer } from '../fixtures/hub-server.ts';
import { fetchPretrained, fetchRepository, HubError, type FetchOptions, type Progress } from './index.ts';

const bytes = (length: number, seed: number) => Uint8Array.from({ length }, (_, i) => (i * 31 + seed * 17 + (i >> 8)) % 251);
const text = (json: unknown) => new TextEncoder().encode(JSON.stringify(json));
const [MAIN, PULL] = ['a'.repeat(40), 'b'.repeat(40)];
const WEIGHTS = bytes(300_000, 1);
const PLAIN = { 'config.json': text({ model_type: 'lxmert' }), 'tokenizer.json': text({ model: 1 }), 'vocab.txt': text('[PAD]'), 'model.safetensors': WEIGHTS };
const index = (...shards: string[]) => text({ weight_map: Object.fromEntries(shards.map((name, i) => [`tensor.${i}`, name])) });
const shards = ['model-00001-of-00002.safetensors', 'model-00002-of-00002.safetensors'] as const;
const repository = (name: string, files: Readonly<Record<string, Uint8Array>>) => ({ name, revisions: { main: MAIN, 'refs/pr/1': PULL }, files });

const REPOSITORIES = [
  repository('owner/plain', { ...PLAIN, 'README.md': text('read me'), 'pytorch_model.bin': bytes(2000, 9), 'tf_model.h5': bytes(2000, 8) }),
  repository('owner/sharded', { 'config.json': PLAIN['config.json'], 'model.safetensors.index.json': index(...shards, shards[0]), [shards[0]]: bytes(5000, 2), [shards[1]]: bytes(6000, 3), 'other.safetensors': bytes(2000, 4) }),
  repository('owner/legacy', { 'config.json': PLAIN['config.json'], 'pytorch_model.bin': bytes(5000, 5) }),
  repository('packages/lora', { 'config.json': PLAIN['config.json'], 'model.safetensors': bytes(5000, 5) }),
  repository('owner/keras', { 'config.json': PLAIN['config.json'], 'tf_model.h5': bytes(2000, 6) }),
  repository('owner/lacking', { 'model.safetensors.index.json': index('model-00001-of-00001.safetensors') }),
  repository('owner/evil', { 'model.safetensors.index.json': index('../../../../evil.safetensors') }),
  repository('owner/empty', { 'config.json': PLAIN['config.json'], 'vocab.txt': new Uint8Array(0), 'model.safetensors': bytes(5000, 7) }),
];

let hub: HubServer;
let cacheDir: string;
const token = process.env['HF_TOKEN'];
beforeAll(async () => {
  delete process.env['HF_TOKEN'];
  hub = await hubServer(REPOSITORIES);
});
afterAll(async () => {
  if (token !== undefined) process.env['HF_TOKEN'] = token;
  await hub.close();
});
beforeEach(() => {
  cacheDir = mkdtempSync(join(tmpdir(), 'espalier-pretrained-'));
  hub.requests.length = hub.tokensElsewhere.length = 0;
  Object.assign(hub.mischief, { cutAfter: [], stallAfter: [], ignoreRange: false, corrupt: undefined, refuse: undefined, token: undefined });
});
afterEach(() => rmSync(cacheDir, { recursive: true }));

const get = (id: string, options: FetchOptions = {}) => fetchPretrained(id, { cacheDir, hubUrl: hub.url, ...options });
const failureOf = async (promise: Promise<unknown>): Promise<Error> => {
  const found: unknown = await promise.then(() => undefined, (e: unknown) => e);
  if (!(found instanceof Error)) throw new Error('expected a failure');
  return found;
};
const folder = (name = 'plain') => join(cacheDir, `models--owner--${name}`);
const blobs = (name?: string) => (existsSync(join(folder(name), 'blobs')) ? readdirSync(join(folder(name), 'blobs')).sort() : []);
/** Drops the connection when all has arrived that is sent of the weights. */
const dropAt = (...places: number[]) => ({ file, received }: Progress) => {
  if (file === 'model.safetensors' && places.includes(received)) hub.drop();
};
/** The downloads since the last look: 'FILE RANGE'. */
const downloads = () => hub.requests.splice(0).flatMap((line) => /^GET \/[0-9a-f]{40}\/(.*)$/.exec(line)?.[1] ?? []);

describe('a repository', () => {
  it('is fetched into the cache as Hugging Face lays it out, and nothing but what is read', async () => {
    const { directory, files, commit } = await get('owner/plain');
    expect(commit).toBe(MAIN);
    expect(directory).toBe(join(folder(), 'snapshots', MAIN));
    expect(files).toEqual(['config.json', 'tokenizer.json', 'vocab.txt', 'model.safetensors']);
    for (const [name, content] of Object.entries(PLAIN)) {
      expect(readFileSync(join(directory, name)).equals(content), name).toBe(true);
      expect(readlinkSync(join(directory, name))).toBe(join('..', '..', 'blobs', etagOf(content)));
    }
    expect(readFileSync(join(folder(), 'refs', 'main'), 'utf8')).toBe(MAIN);
    expect(blobs()).toEqual(Object.values(PLAIN).map(etagOf).sort());
    expect(readdirSync(directory).sort()).toEqual(Object.keys(PLAIN).sort());
    const { id, revisions } = await scanCachedRepo(folder());
    expect(id).toEqual({ name: 'owner/plain', type: 'model' });
    expect(revisions).toMatchObject([{ commitOid: MAIN, refs: ['main'] }]);
    expect(revisions[0]!.files.map((file) => file.blob.size).sort()).toEqual(Object.values(PLAIN).map((content) => content.length).sort());
  });

  it('is downloaded once', async () => {
    const first = await get('owner/plain');
    hub.requests.length = 0;
    expect(await get('owner/plain')).toEqual(first);
    expect(hub.requests).toEqual([`GET /api/models/owner/plain/revision/main`, `POST /api/models/owner/plain/paths-info/${MAIN}`]);
  });

  it('of another revision shares what is the same', async () => {
    await get('owner/plain');
    downloads();
    const { directory } = await get('owner/plain', { revision: 'refs/pr/1' });
    expect(directory).toBe(join(folder(), 'snapshots', PULL));
    expect(readFileSync(join(folder(), 'refs', 'refs', 'pr', '1'), 'utf8')).toBe(PULL);
    expect(downloads()).toEqual([]);
    expect((await get('owner/plain', { revision: 'refs/pr/1', localFilesOnly: true })).directory).toBe(directory);
  });

  it('of a commit needs no look at branches', async () => {
    await get('owner/plain', { revision: PULL });
    expect(hub.requests.filter((line) => line.includes('/revision/'))).toEqual([]);
    expect(existsSync(join(folder(), 'refs'))).toBe(false);
  });

  it('of a commit that is whole in the cache is taken from there without a request', async () => {
    const first = await get('owner/plain', { revision: MAIN });
    expect(first.commit).toBe(MAIN);
    hub.requests.length = 0;
    expect(await get('owner/plain', { revision: MAIN })).toEqual(first);
    expect(await get('owner/plain', { revision: MAIN, weights: false })).toEqual({ ...first, files: ['config.json', 'tokenizer.json', 'vocab.txt'] });
    expect(hub.requests).toEqual([]);
    const sharded = await get('owner/sharded', { revision: MAIN });
    hub.requests.length = 0;
    expect(await get('owner/sharded', { revision: MAIN })).toEqual(sharded);
    expect(hub.requests).toEqual([]);
  });

  it('of a commit of which the cache lacks a file is asked for', async () => {
    const asked = async () => {
      hub.requests.length = 0;
      expect((await get('owner/plain', { revision: MAIN })).files).toHaveLength(4);
      return hub.requests.length > 0;
    };
    const { directory } = await get('owner/plain', { revision: MAIN });
    for (const file of ['vocab.txt', 'model.safetensors']) {
      rmSync(join(directory, file));
      expect(await asked(), file).toBe(true);
    }
    rmSync(join(folder(), '.no_exist', MAIN, 'tokenizer_config.json')); // as a client leaves it that never asked for it
    expect([await asked(), await asked()]).toEqual([true, false]);
  });

  it('is never a folder of its name where it is asked for as a repository', async () => {
    expect(existsSync('packages/lora')).toBe(true); // where tests run
    const options = { cacheDir, hubUrl: hub.url };
    expect((await fetchRepository('packages/lora', options)).files).toEqual(['config.json', 'model.safetensors']);
    expect((await fetchPretrained('packages/lora', { ...options, weights: false })).files).toEqual([]);
    expect((await failureOf(fetchRepository(cacheDir, options))).message).toMatch(/is no id of the Hub, which is 'owner\/name'/);
  });

  it('in shards comes with its index and the shards that it names', async () => {
    const { directory, files } = await get('owner/sharded');
    expect(files).toEqual(['config.json', 'model.safetensors.index.json', ...shards]);
    expect(readdirSync(directory).sort()).toEqual([...files].sort());
  });

  it('without safetensors gives the PyTorch file', async () => {
    expect((await get('owner/legacy')).files).toEqual(['config.json', 'pytorch_model.bin']);
  });

  it('may be asked for all but its weights', async () => {
    expect((await get('owner/plain', { weights: false })).files).toEqual(['config.json', 'tokenizer.json', 'vocab.txt']);
    expect((await get('owner/keras', { weights: false })).files).toEqual(['config.json']);
    expect(downloads()).toEqual([]); // no large file
  });

  it('may have an empty file', async () => {
    const { directory } = await get('owner/empty');
    expect(readFileSync(join(directory, 'vocab.txt')).length).toBe(0);
  });

  it('tells of its progress, file by file', async () => {
    const seen: Progress[] = [];
    await get('owner/plain', { onProgress: (p) => seen.push(p) });
    expect([...new Set(seen.map((p) => p.file))]).toEqual(Object.keys(PLAIN));
    const own = seen.filter((p) => p.file === 'model.safetensors');
    expect(own.at(-1)).toEqual({ file: 'model.safetensors', received: WEIGHTS.length, total: WEIGHTS.length });
    expect(own.every((p, i) => i === 0 || p.received > own[i - 1]!.received)).toBe(true);
  });

  it('is shown the access token, and no other server is', async () => {
    hub.mischief.token = 'hf_secret';
    await get('owner/plain', { accessToken: 'hf_secret' });
    process.env['HF_TOKEN'] = 'hf_secret\n';
    try {
      await get('owner/legacy');
    } finally {
      delete process.env['HF_TOKEN'];
    }
    expect(downloads()).toHaveLength(2);
    expect(hub.tokensElsewhere).toEqual([]);
  });
});

describe('a download', () => {
  it('goes on where the connection dropped', async () => {
    hub.mischief.stallAfter = [100_000, 50_000];
    const { directory } = await get('owner/plain', { onProgress: dropAt(100_000, 150_000) });
    expect(readFileSync(join(directory, 'model.safetensors')).equals(WEIGHTS)).toBe(true);
    expect(downloads()).toEqual(['model.safetensors', 'model.safetensors bytes=100000-', 'model.safetensors bytes=150000-']);
    expect(blobs()).toEqual(Object.values(PLAIN).map(etagOf).sort());
  });

  it('begins anew where the server knows no ranges', async () => {
    Object.assign(hub.mischief, { stallAfter: [100_000], ignoreRange: true });
    const { directory } = await get('owner/plain', { onProgress: dropAt(100_000) });
    expect(readFileSync(join(directory, 'model.safetensors')).equals(WEIGHTS)).toBe(true);
    expect(downloads()).toEqual(['model.safetensors', 'model.safetensors bytes=100000-']);
  });

  it('is aborted at once, and the next call goes on', async () => {
    hub.mischief.stallAfter = [120_000];
    const aborting = new AbortController();
    const reason = new Error('enough');
    const onProgress = ({ file, received }: Progress) => {
      if (file === 'model.safetensors' && received === 120_000) aborting.abort(reason);
    };
    expect(await failureOf(get('owner/plain', { signal: aborting.signal, onProgress }))).toBe(reason);
    expect(blobs().filter((name) => name.endsWith('.incomplete'))).toEqual([`${etagOf(WEIGHTS)}.espalier-free.incomplete`]);
    expect((await failureOf(get('owner/plain', { localFilesOnly: true }))).message).toMatch(/no revision 'main'/);
    downloads();
    const received: number[] = [];
    const { directory } = await get('owner/plain', { onProgress: (p) => received.push(p.received) });
    expect(downloads()).toEqual(['model.safetensors bytes=120000-']);
    expect(received.every((n) => n > 120_000)).toBe(true);
    expect(readFileSync(join(directory, 'model.safetensors')).equals(WEIGHTS)).toBe(true);
    expect(blobs()).toEqual(Object.values(PLAIN).map(etagOf).sort());
  });

  it('is not begun with a signal that is aborted', async () => {
    expect((await failureOf(get('owner/plain', { signal: AbortSignal.abort(new Error('no')) }))).message).toBe('no');
    expect(hub.requests).toEqual([]);
  });

  it.each(['model.safetensors', 'config.json'])('of a corrupt %s is refused and leaves nothing of it', async (file) => {
    hub.mischief.corrupt = file;
    const failure = await failureOf(get('owner/plain'));
    expect(failure).toBeInstanceOf(CheckpointError);
    expect(failure.message).toMatch(new RegExp(`${file} of 'owner/plain' is corrupt: its checksum is [0-9a-f]+, the Hub announces [0-9a-f]+\\. It has been deleted`));
    const content = Object.entries(PLAIN).find(([name]) => name === file)![1];
    expect(blobs().filter((name) => name.startsWith(etagOf(content)))).toEqual([]);
    hub.mischief.corrupt = undefined;
    expect((await get('owner/plain')).files).toHaveLength(4);
  });

  it('replaces a file of the cache that was cut off', async () => {
    const { directory } = await get('owner/plain');
    writeFileSync(join(directory, 'model.safetensors'), 'short'); // through the link
    await get('owner/plain');
    expect(readFileSync(join(folder(), 'blobs', etagOf(WEIGHTS))).equals(WEIGHTS)).toBe(true);
  });

  it('may run twice at the same time', async () => {
    const [a, b] = await Promise.all([get('owner/plain'), get('owner/plain')]);
    expect(a).toEqual(b);
    expect(blobs()).toEqual(Object.values(PLAIN).map(etagOf).sort());
    expect(readdirSync(a.directory).sort()).toEqual(Object.keys(PLAIN).sort());
  });
});

describe('what cannot be had', () => {
  it('is named with the status and what to check', async () => {
    const failure = await failureOf(get('owner/none'));
    expect(failure).toBeInstanceOf(HubError);
    expect(failure).toMatchObject({ status: 404 });
    expect(failure.message).toMatch(/answered 404 for the revision of 'owner\/none' at revision 'main'\. Check the id and the revision; if the repository is private or gated, no access token was given: set HF_TOKEN or accessToken/);
    expect((await failureOf(get('owner/plain', { revision: 'v9' }))).message).toMatch(/404 .*revision 'v9'/);
    expect((await failureOf(get('owner/plain', { revision: 'c'.repeat(40) }))).message).toMatch(/404 for the list of files/);
    hub.mischief.token = 'hf_secret';
    expect(await failureOf(get('owner/plain'))).toMatchObject({ status: 401, message: expect.stringMatching(/set HF_TOKEN or accessToken/) });
    expect(await failureOf(get('owner/plain', { accessToken: 'hf_other' }))).toMatchObject({ status: 401, message: expect.stringMatching(/the access token may not see it/) });
    hub.mischief.refuse = 503;
    expect(await failureOf(get('owner/plain'))).toMatchObject({ status: 503, message: expect.stringMatching(/Try again later/) });
    expect(existsSync(join(folder(), 'refs'))).toBe(false);
  });

  it('without a network is named with the ways to do without', async () => {
    const gone = await hubServer([]);
    await gone.close();
    const failure = await failureOf(get('owner/plain', { hubUrl: gone.url }));
    expect(failure).toBeInstanceOf(HubError);
    expect(failure.message).toMatch(/cannot be reached \(fetch failed: .*ECONNREFUSED.*\)\. Without a network use localFilesOnly .*cacheDir .*or a directory/);
    expect(failure.message).toContain(cacheDir);
  });

  it('is a Hub that answers with a page of its own', async () => {
    const page = () => Promise.resolve(new Response('<html>log in</html>', { headers: { 'Content-Type': 'text/html' } }));
    expect((await failureOf(get('owner/plain', { fetch: page }))).message).toMatch(/gave no sensible answer for the revision .* Is it a Hub, or does something stand between\?/);
  });

  it('is weights of a repository that has none, or not all', async () => {
    expect((await failureOf(get('owner/keras'))).message).toMatch(/has none of model\.safetensors, .*: no weights that Espalier reads\. It has config\.json\./);
    expect((await failureOf(get('owner/lacking'))).message).toMatch(/names model-00001-of-00001\.safetensors, which the repository has not/);
  });

  it('is a file that would lie outside of the cache', async () => {
    const failure = await failureOf(get('owner/evil'));
    expect(failure).toBeInstanceOf(CheckpointError);
    expect(failure.message).toMatch(/names '\.\.\/\.\.\/\.\.\/\.\.\/evil\.safetensors', expected a plain file name/);
    for (const id of ['../plain', 'owner/..', 'a/b/c', 'plain', './x', '/x/y', 'owner/plain?x'])
      expect((await failureOf(get(id))).message, id).toMatch(/neither a directory or file here nor an id of the Hub/);
    for (const revision of ['../../x', 'a//b', '/main', 'a\\b', 'C:x', '.']) expect(await failureOf(get('owner/plain', { revision })), revision).toBeInstanceOf(OptionsError);
  });

  it('is an option that there is not', async () => {
    const misspelt: object = { revison: 'main' };
    expect((await failureOf(get('owner/plain', misspelt))).message).toMatch(/no option 'revison'\. Did you mean 'revision'\?/);
    expect((await failureOf(get('owner/plain', { hubUrl: 'ftp://x' }))).message).toMatch(/option 'hubUrl' or HF_ENDPOINT/);
  });
});

it('has its cache where HF_HUB_CACHE or HF_HOME says', async () => {
  const { HF_HUB_CACHE, HF_HOME } = process.env;
  const elsewhere = async (environment: Record<string, string>) => {
    delete process.env['HF_HUB_CACHE'];
    Object.assign(process.env, environment);
    return (await fetchPretrained('owner/legacy', { hubUrl: hub.url })).directory;
  };
  try {
    expect(await elsewhere({ HF_HOME: cacheDir })).toBe(join(cacheDir, 'hub', 'models--owner--legacy', 'snapshots', MAIN));
    expect(await elsewhere({ HF_HOME: '/nowhere', HF_HUB_CACHE: cacheDir })).toBe(join(folder('legacy'), 'snapshots', MAIN));
  } finally {
    for (const [name, value] of Object.entries({ HF_HUB_CACHE, HF_HOME })) {
      delete process.env[name];
      if (value !== undefined) process.env[name] = value;
    }
  }
});

describe('localFilesOnly', () => {
  it('takes what is in the cache and asks nobody', async () => {
    const first = await get('owner/sharded');
    hub.requests.length = 0;
    expect(await get('owner/sharded', { localFilesOnly: true })).toEqual(first);
    expect(await get('owner/sharded', { localFilesOnly: true, revision: MAIN })).toEqual(first);
    expect(hub.requests).toEqual([]);
  });

  it('says what is missing', async () => {
    const missing = async (id: string, options: FetchOptions = {}) => {
      const failure = await failureOf(get(id, { ...options, localFilesOnly: true }));
      expect(failure).toBeInstanceOf(HubError);
      expect(failure.message).toMatch(/localFilesOnly forbids to fetch 'owner\/\w+'\. Call once without it/);
      return failure.message;
    };
    expect(await missing('owner/plain')).toContain(`${folder()} has no revision 'main'`);
    await get('owner/plain', { weights: false });
    expect(await missing('owner/plain')).toMatch(/has config\.json, tokenizer\.json, vocab\.txt but none of model\.safetensors/);
    expect(await missing('owner/plain', { revision: 'v2' })).toMatch(/no revision 'v2'/);
    expect(await missing('owner/plain', { revision: PULL })).toMatch(/has none of config\.json/);
    const { directory } = await get('owner/sharded');
    rmSync(join(directory, shards[1]));
    expect(await missing('owner/sharded')).toMatch(new RegExp(`lacks ${shards[1]}, which model\\.safetensors\\.index\\.json names`));
    expect(hub.requests.some((line) => line.includes('v2'))).toBe(false);
  });
});

describe('a path', () => {
  it('is used as it is, a directory or a file of weights with what lies beside it', async () => {
    const directory = join(cacheDir, 'mine');
    mkdirSync(directory);
    for (const name of ['config.json', 'vocab.txt', 'pytorch_model.bin', 'other.pth']) writeFileSync(join(directory, name), name);
    expect(await get(directory)).toEqual({ directory, files: ['config.json', 'vocab.txt', 'pytorch_model.bin'] });
    expect(await get(directory, { weights: false })).toEqual({ directory, files: ['config.json', 'vocab.txt'] });
    expect(await get(join(directory, 'other.pth'))).toEqual({ directory, files: ['config.json', 'vocab.txt', 'other.pth'] });
    writeFileSync(join(directory, 'model.safetensors.index.json'), index('one.safetensors', 'two.safetensors'));
    writeFileSync(join(directory, 'one.safetensors'), '');
    const failure = await failureOf(get(directory));
    expect(failure).toBeInstanceOf(EspalierError);
    expect(failure.message).toBe(`${directory} lacks two.safetensors, which model.safetensors.index.json names`);
    writeFileSync(join(directory, 'two.safetensors'), '');
    expect((await get(directory)).files).toEqual(['config.json', 'vocab.txt', 'model.safetensors.index.json', 'one.safetensors', 'two.safetensors']);
    expect(hub.requests).toEqual([]);
  });
});
