import { EspalierError } from '@espalier/core';

/** A command line or configuration that does not say what to do; the message names the flag or key, and the remedy. */
export class UsageError extends EspalierError {
  override name = 'UsageError';
}

/** Work that was asked to stop and has. */
export class Interrupted extends EspalierError {
  override name = 'Interrupted';
}

/** What was thrown, as text. */
export const reasonOf = (thrown: unknown): string => (thrown instanceof Error ? thrown.message : String(thrown));
