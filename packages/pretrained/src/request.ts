import { HubError, reasonOf } from './errors.ts';

/** What a message about the Hub says besides what went wrong. */
export interface Place {
  readonly name: string; // 'owner/name'
  readonly revision: string;
  readonly hubUrl: string;
  readonly cacheDir: string;
  readonly authorised: boolean;
}

export interface RequestOptions {
  readonly hubUrl: string;
  readonly accessToken: string | undefined;
  readonly signal: AbortSignal | undefined;
  readonly fetch?: typeof globalThis.fetch | undefined;
}

/** `fetch` that can be aborted and shows the access token to the Hub alone. */
export function requestOf({ hubUrl, accessToken, signal, fetch: own = fetch }: RequestOptions): typeof globalThis.fetch {
  const { origin } = new URL(hubUrl);
  return (input, init) => {
    const url = typeof input === 'string' || input instanceof URL ? input : input.url;
    const headers = new Headers(init?.headers);
    if (accessToken !== undefined && new URL(url).origin === origin) headers.set('Authorization', `Bearer ${accessToken}`);
    return own(url, { ...init, headers, ...(signal && { signal }) });
  };
}

/** The error for an answer of this status to a request for `what`. */
export function refused(status: number, what: string, { name, revision, authorised }: Place, cause?: unknown): HubError {
  const asked = `fetchPretrained: the Hub answered ${status} for ${what} of '${name}' at revision '${revision}'.`;
  const token = authorised ? 'the access token may not see it' : 'no access token was given: set HF_TOKEN or accessToken';
  const remedy =
    status === 404 || status === 401 || status === 403
      ? `Check the id and the revision; if the repository is private or gated, ${token}.`
      : 'Try again later; what has been downloaded is kept.';
  return new HubError(`${asked} ${remedy}`, { status, cause });
}

/** The error for a Hub that could not be reached. */
export const unreachable = (why: string, { hubUrl, cacheDir }: Place, cause?: unknown): HubError =>
  new HubError(
    `fetchPretrained: ${hubUrl} cannot be reached (${why}). Without a network use localFilesOnly for what is in the cache (${cacheDir}), cacheDir for another cache, or a directory that holds the model's files.`,
    { cause },
  );

/** The error for what a call of the Hub's client threw; what was aborted is thrown as it is. */
export function explained(thrown: unknown, what: string, place: Place, signal: AbortSignal | undefined): unknown {
  if (signal?.aborted) return signal.reason;
  if (thrown instanceof Error && 'statusCode' in thrown && typeof thrown.statusCode === 'number') return refused(thrown.statusCode, what, place, thrown);
  if (thrown instanceof TypeError) return unreachable(reasonOf(thrown), place, thrown);
  return new HubError(`fetchPretrained: ${place.hubUrl} gave no sensible answer for ${what} of '${place.name}' (${reasonOf(thrown)}). Is it a Hub, or does something stand between?`, { cause: thrown });
}
