import { CheckpointError } from '@espalier/core';
import { expect, it } from 'vitest';
import { HubError } from './errors.ts';
import { transfer } from './transfer.ts';

const CONTENT = Uint8Array.from({ length: 100 }, (_, i) => i);
const place = { name: 'owner/name', revision: 'main', hubUrl: 'http://hub', cacheDir: '/cache', authorised: false };

/** A partial file in memory that holds the first bytes already. */
function held(count: number) {
  const values = [...CONTENT.subarray(0, count)];
  return {
    values,
    get received() {
      return values.length;
    },
    write: (bytes: Uint8Array) => Promise.resolve(void values.push(...bytes)),
    restart: () => Promise.resolve(void (values.length = 0)),
  };
}

const part = (from: number, to = 100, init: ResponseInit = {}) =>
  new Response(CONTENT.slice(from, to), { status: from ? 206 : 200, ...(from && { headers: { 'Content-Range': `bytes ${from}-99/100` } }), ...init });

/** Runs a transfer against answers in turn, the last for ever; gives the ranges asked for and the pauses made. */
async function run(to: ReturnType<typeof held>, ...answers: (() => Response)[]) {
  const ranges: (string | null)[] = [];
  const pauses: number[] = [];
  const failure: unknown = await transfer(to, {
    url: 'http://hub/file', file: 'file', size: CONTENT.length, place, signal: undefined, onReceived: () => {},
    request: async (_, init) => {
      ranges.push(new Headers(init?.headers).get('Range'));
      return (answers.length > 1 ? answers.shift()! : answers[0]!)();
    },
    pause: async (milliseconds) => void pauses.push(milliseconds),
  }).catch((e: unknown) => e);
  return { ranges, pauses, failure };
}

it('asks for what is lacking, over as many connections as bring something', async () => {
  const to = held(10);
  const { ranges, pauses, failure } = await run(to, () => part(10, 20), () => part(20, 30), () => part(30, 40), () => part(40, 50), () => part(50, 60), () => part(60));
  expect(failure).toBeUndefined();
  expect(ranges).toEqual([10, 20, 30, 40, 50, 60].map((from) => `bytes=${from}-`));
  expect(pauses).toEqual([]);
  expect(to.values).toEqual([...CONTENT]);
});

it('asks nothing for what is whole', async () => {
  expect((await run(held(100), () => part(0))).ranges).toEqual([]);
});

it('waits longer and longer while nothing comes, then gives up and keeps what there is', async () => {
  const to = held(10);
  const { ranges, pauses, failure } = await run(to, () => {
    throw new TypeError('fetch failed', { cause: new Error('ECONNRESET') });
  });
  expect(ranges).toHaveLength(4);
  expect(pauses).toEqual([500, 1000, 2000]);
  expect(failure).toBeInstanceOf(HubError);
  expect(failure).toMatchObject({ message: expect.stringMatching(/http:\/\/hub cannot be reached \(file: fetch failed: ECONNRESET; 10 of 100 bytes are kept for the next call\)/) });
  expect(to.received).toBe(10);
});

it('tries again when the server is in trouble, and names the status in the end', async () => {
  const busy = () => new Response('busy', { status: 503 });
  const to = held(0);
  expect((await run(to, busy, busy, () => part(0, 50), busy, busy, busy, () => part(50))).failure).toBeUndefined();
  expect(to.values).toEqual([...CONTENT]);
  expect((await run(held(0), busy)).failure).toMatchObject({ status: 503, message: expect.stringMatching(/answered 503 for file of 'owner\/name'/) });
});

it('does not try again when it is refused', async () => {
  const { ranges, failure } = await run(held(10), () => new Response('no', { status: 403 }));
  expect(ranges).toHaveLength(1);
  expect(failure).toMatchObject({ status: 403, message: expect.stringMatching(/private or gated/) });
});

it.each([
  ['the whole', () => part(0)],
  ['the whole as a range', () => part(0, 100, { status: 206, headers: { 'Content-Range': 'bytes 0-99/100' } })],
  ['another range', () => part(50)],
  ['a range of which nothing is said', () => part(10, 100, { status: 206, headers: {} })],
  ['that there is none', () => new Response('', { status: 416 })],
])('begins anew when the answer to a range is %s', async (_, answer) => {
  const to = held(10);
  const { failure, ranges } = await run(to, answer, () => part(to.received));
  expect(failure).toBeUndefined();
  expect(ranges[0]).toBe('bytes=10-');
  expect(to.values).toEqual([...CONTENT]);
});

it('gives up on a server that knows no ranges and never comes further', async () => {
  const { ranges, failure } = await run(held(0), () => part(0, 60));
  expect(failure).toBeInstanceOf(HubError);
  expect(ranges).toHaveLength(5);
});

it('keeps nothing of what is longer than announced', async () => {
  const to = held(0);
  const { failure } = await run(to, () => new Response(new Uint8Array(101)));
  expect(failure).toBeInstanceOf(CheckpointError);
  expect(failure).toMatchObject({ message: expect.stringMatching(/longer than the 100 bytes/) });
  expect(to.received).toBe(0);
  const tooMuch = held(100);
  tooMuch.values.push(1);
  await run(tooMuch, () => part(0));
  expect(tooMuch.values).toEqual([...CONTENT]);
});
