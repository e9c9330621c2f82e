import { setTimeout } from 'node:timers/promises';
import { CheckpointError } from '@espalier/core';
import { reasonOf } from './errors.ts';
import type { Partial } from './partial.ts';
import { refused, unreachable, type Place } from './request.ts';

export interface Transfer {
  readonly url: string;
  readonly file: string; // for messages
  readonly size: number; // bytes
  readonly place: Place;
  readonly request: typeof globalThis.fetch;
  readonly signal: AbortSignal | undefined;
  readonly onReceived: (received: number) => void;
  /** Waits before another attempt. */
  readonly pause?: (milliseconds: number, signal: AbortSignal | undefined) => Promise<unknown>;
}

/** Attempts in a row that brought nothing. */
const MOST = 4;

/**
 * Fills a partial file up to its size, from where it stops, over as many connections as it takes.
 * @throws HubError when several in a row bring nothing, or for a refusal; the partial file then holds what has arrived.
 */
export async function transfer(to: Pick<Partial, 'received' | 'write' | 'restart'>, given: Transfer): Promise<void> {
  const { size, signal, place, pause = (milliseconds) => setTimeout(milliseconds, undefined, signal && { signal }) } = given;
  if (to.received > size) await to.restart();
  for (let failures = 0; to.received < size; ) {
    const before = to.received;
    const broken = await receive(to, given);
    if (broken === undefined) continue;
    failures = to.received > before ? 0 : failures + 1;
    if (failures === MOST)
      throw broken.status === undefined
        ? unreachable(`${given.file}: ${broken.why}; ${to.received} of ${size} bytes are kept for the next call`, place, broken.cause)
        : refused(broken.status, given.file, place, broken.cause);
    if (failures) await pause(500 * 2 ** (failures - 1), signal);
    signal?.throwIfAborted();
  }
}

/** Why a connection ended before the file did. */
interface Broken {
  readonly why: string;
  readonly status?: number;
  readonly cause?: unknown;
}

/** One connection: what is lacking, or the whole where the server knows no ranges. */
async function receive(to: Pick<Partial, 'received' | 'write' | 'restart'>, { url, file, size, place, request, signal, onReceived }: Transfer): Promise<Broken | undefined> {
  const broken = (cause: unknown): Broken => {
    if (signal?.aborted) throw signal.reason;
    return { why: reasonOf(cause), cause };
  };
  // Bytes as they are in the repository, so that places in them mean something.
  const headers = { 'Accept-Encoding': 'identity', ...(to.received && { Range: `bytes=${to.received}-` }) };
  const response = await request(url, { headers }).catch(broken);
  if (!(response instanceof Response)) return response;
  const { status } = response;
  const start = status === 206 ? Number(/^bytes (\d+)-/.exec(response.headers.get('Content-Range') ?? '')?.[1]) : 0;
  const usable = response.ok && (start === to.received || start === 0) && response.body;
  if (!usable) {
    await response.body?.cancel();
    if (status === 416 || response.ok) {
      await to.restart();
      return { why: `the answer ${status} has no bytes from ${to.received} on` };
    }
    if (status >= 500 || status === 429 || status === 408) return { why: `status ${status}`, status };
    throw refused(status, file, place);
  }
  if (start !== to.received) await to.restart();
  const reader = usable.getReader();
  try {
    for (;;) {
      const piece = await reader.read().catch(broken);
      if ('why' in piece) return piece;
      if (piece.done) return to.received < size ? { why: `the connection ended at ${to.received} of ${size} bytes` } : undefined;
      if (to.received + piece.value.length > size) {
        await to.restart();
        throw new CheckpointError(`fetchPretrained: ${file} of '${place.name}' is longer than the ${size} bytes that the Hub announces. Something stands between; nothing of it is kept.`);
      }
      await to.write(piece.value);
      onReceived(to.received);
    }
  } finally {
    await reader.cancel().catch(() => undefined); // of a connection that is broken already
  }
}
