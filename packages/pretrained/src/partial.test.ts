import { mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, utimesSync, writeFileSync } from 'node:fs';
import { hostname, tmpdir } from 'node:os';
import { createHash } from 'node:crypto';
import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { EspalierError } from '@espalier/core';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { openPartial } from './partial.ts';

let folder: string;
beforeEach(() => void (folder = mkdtempSync(join(tmpdir(), 'espalier-partial-'))));
afterEach(() => rmSync(folder, { recursive: true }));

const bytes = (...values: number[]) => Uint8Array.from(values);
const file = () => join(folder, 'blobs', 'abc');
const there = () => readdirSync(join(folder, 'blobs')).sort();
const machine = createHash('sha256').update(hostname()).digest('hex').slice(0, 8);
const partialOf = (owner: string) => `${file()}.espalier-${owner}.incomplete`;

/** A partial file that another process left. */
async function left(owner: string, content: Uint8Array): Promise<string> {
  await (await openPartial(file())).discard(); // makes the folder
  writeFileSync(partialOf(owner), content);
  return partialOf(owner);
}

it('becomes the file when it is whole', async () => {
  const partial = await openPartial(file());
  await partial.write(bytes(1, 2));
  await partial.write(bytes(3));
  expect(partial.received).toBe(3);
  expect(there()).toHaveLength(1);
  await partial.publish();
  await partial.release(); // nothing any more
  expect(there()).toEqual(['abc']);
  expect([...readFileSync(file())]).toEqual([1, 2, 3]);
});

it('is left for the next, who goes on', async () => {
  const first = await openPartial(file());
  await first.write(bytes(1, 2));
  await first.release();
  const second = await openPartial(file());
  expect(second.received).toBe(2);
  await second.write(bytes(3));
  await second.publish();
  expect(there()).toEqual(['abc']);
  expect([...readFileSync(file())]).toEqual([1, 2, 3]);
});

it('is nobody else\'s while it is written', async () => {
  const [a, b] = [await openPartial(file()), await openPartial(file())];
  await a.write(bytes(1, 2, 3));
  expect(b.received).toBe(0);
  await b.write(bytes(1));
  await b.release();
  const c = await openPartial(file());
  expect(c.received).toBe(1);
  await a.publish();
  await c.write(bytes(2, 3));
  await c.publish();
  expect(there()).toEqual(['abc']);
});

it('keeps the longer of two that are left', async () => {
  const [a, b] = [await openPartial(file()), await openPartial(file())];
  await a.write(bytes(1, 2, 3));
  await b.write(bytes(1));
  await a.release();
  await b.release();
  expect(there()).toEqual(['abc.espalier-free.incomplete']);
  const next = await openPartial(file());
  expect(next.received).toBe(3);
  await next.discard();
});

it('forgets what it holds on restart, and leaves nothing when it holds nothing', async () => {
  const partial = await openPartial(file());
  await partial.write(bytes(1, 2));
  await partial.restart();
  expect(partial.received).toBe(0);
  await partial.release();
  expect(there()).toEqual([]);
});

it('of a process that is no more is taken over, even an empty one; that of a living one is not', async () => {
  const dead = execFileSync(process.execPath, ['-p', 'process.pid']).toString().trim();
  const living = await left(`${machine}-${process.ppid}-1`, bytes(9, 9));
  await left(`${machine}-${dead}-1`, bytes());
  await left(`${machine}-${dead}-2`, bytes(1, 2));
  const partial = await openPartial(file());
  expect(partial.received).toBe(2);
  const other = await openPartial(file());
  expect(other.received).toBe(0);
  await other.discard();
  await partial.publish();
  expect(there()).toEqual(['abc', `abc.espalier-${machine}-${process.ppid}-1.incomplete`]);
  expect([...readFileSync(living)]).toEqual([9, 9]);
});

it('of another machine is taken over when it has not grown for an hour', async () => {
  const name = await left('ffffffff-1-1', bytes(1, 2));
  const before = await openPartial(file());
  expect(before.received).toBe(0);
  await before.discard();
  utimesSync(name, 0, 0);
  const partial = await openPartial(file());
  expect(partial.received).toBe(2);
  await partial.discard();
  expect(there()).toEqual([]);
});

it('leaves partial files of other clients alone', async () => {
  await left('free', bytes(1));
  writeFileSync(`${file()}.incomplete`, 'theirs');
  const partial = await openPartial(file());
  expect(partial.received).toBe(1);
  await partial.publish();
  expect(there()).toEqual(['abc', 'abc.incomplete']);
});

it.runIf(process.platform === 'linux')('says that the disk is full, for which file', async () => {
  await left('free', bytes());
  rmSync(partialOf('free'));
  symlinkSync('/dev/full', partialOf('free'));
  const partial = await openPartial(file());
  const failure: unknown = await partial.write(bytes(1)).catch((e: unknown) => e);
  expect(failure).toBeInstanceOf(EspalierError);
  expect(failure).toMatchObject({ message: expect.stringMatching(/blobs.abc cannot be written after 0 bytes \(ENOSPC.*\)\. The disk is full: make space, or give cacheDir another one/), cause: expect.objectContaining({ code: 'ENOSPC' }) });
  await partial.release();
});
