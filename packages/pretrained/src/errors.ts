import { EspalierError } from '@espalier/core';

/** The Hub refused, had not what was asked for, or could not be reached; the message says what to do. */
export class HubError extends EspalierError {
  override name = 'HubError';
  readonly status: number | undefined; // of the answer, where there was one

  constructor(message: string, { status, cause }: { readonly status?: number; readonly cause?: unknown } = {}) {
    super(message, cause === undefined ? undefined : { cause });
    this.status = status;
  }
}

/** What was thrown, as text, with what was below it: fetch says only that it failed. */
export function reasonOf(thrown: unknown): string {
  if (!(thrown instanceof Error)) return String(thrown);
  const { cause } = thrown;
  return cause instanceof Error ? `${thrown.message}: ${cause.message || codeOf(cause) || cause.name}` : thrown.message;
}

/** A system error's code, such as ENOENT. */
export const codeOf = (thrown: unknown): string | undefined =>
  thrown instanceof Error && 'code' in thrown && typeof thrown.code === 'string' ? thrown.code : undefined;
