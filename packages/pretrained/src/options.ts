import { didYouMean, OptionsError } from '@espalier/core';
import { z } from 'zod';

/** How far the download of one file is. */
export interface Progress {
  readonly file: string; // its name in the repository
  readonly received: number; // bytes on the disk, those of an earlier call included
  readonly total: number;
}

export interface FetchOptions {
  readonly revision?: string; // branch, tag, commit or 'refs/pr/1'; default 'main'
  readonly cacheDir?: string; // default $HF_HUB_CACHE, else $HF_HOME/hub, else ~/.cache/huggingface/hub
  readonly localFilesOnly?: boolean; // take what the cache has and never touch the network; default false
  readonly weights?: boolean; // default true; false for configuration and tokenizer alone
  readonly accessToken?: string; // of private and gated repositories; default $HF_TOKEN
  readonly hubUrl?: string; // default $HF_ENDPOINT, else the Hugging Face Hub
  readonly fetch?: typeof globalThis.fetch; // for proxies and the like
  readonly signal?: AbortSignal; // aborting it ends the download at once; the next call goes on where it stopped
  readonly onProgress?: (progress: Progress) => void; // for every piece that arrives
}

const text = z.string().min(1);
const fn = <F>() => z.custom<F>((f) => typeof f === 'function', 'expected a function');
const Options = z.strictObject({
  revision: text.refine(isRevision, "expected a branch, a tag, a commit or a reference such as 'refs/pr/1'").default('main'),
  cacheDir: text.optional(),
  localFilesOnly: z.boolean().default(false),
  weights: z.boolean().default(true),
  accessToken: text.optional(),
  hubUrl: z.url({ protocol: /^https?$/ }).optional(),
  fetch: fn<typeof globalThis.fetch>().optional(),
  signal: z.instanceof(AbortSignal).optional(),
  onProgress: fn<(progress: Progress) => void>().default(() => () => {}),
});
/** Options that are whole. */
export type Settings = z.output<typeof Options>;

/** Options completed by the environment and by defaults. @throws OptionsError for unknown options, with the nearest names, and for wrong values. */
export function settingsOf(given: FetchOptions): Settings {
  const { HF_ENDPOINT, HF_TOKEN } = process.env;
  const parsed = Options.safeParse({ hubUrl: HF_ENDPOINT || undefined, accessToken: HF_TOKEN?.trim() || undefined, ...given });
  if (parsed.success) return parsed.data;
  const known = Object.keys(Options.shape);
  const lines = parsed.error.issues.map((issue) =>
    issue.code === 'unrecognized_keys'
      ? issue.keys.map((key) => `fetchPretrained has no option '${key}'.${didYouMean(key, known)} Options are ${known.join(', ')}.`).join(' ')
      : `fetchPretrained: option '${issue.path.join('.')}'${ENVIRONMENT[issue.path.join('.')] ?? ''}: ${issue.message}`,
  );
  throw new OptionsError(lines.join('\n'));
}

/** Where an option may come from besides. */
const ENVIRONMENT: Readonly<Record<string, string>> = { hubUrl: ' or HF_ENDPOINT', accessToken: ' or HF_TOKEN' };

/** Names of git references, which become paths under `refs` in the cache. */
function isRevision(revision: string): boolean {
  return revision.split('/').every((part) => /^[^\\:\s]+$/.test(part) && part !== '.' && part !== '..');
}
