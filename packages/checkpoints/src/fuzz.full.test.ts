import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import { expect, it } from 'vitest';
import { arbitraryFiles, arbitraryStreams, mutated, mutations, outcome } from '../fixtures/mutations.ts';
import { REAL_FILES } from '../fixtures/real-files.ts';

const PER_FILE = 2_000;
const ARBITRARY = 10_000;

it('damaged files, any bytes and any pickles open or are refused by a CheckpointError', async () => {
  const refusals = new Map<string, number>();
  const lines: string[] = [];
  const fuzz = async <T>(name: string, cases: fc.Arbitrary<T>, toBytes: (one: T) => Uint8Array, seed: number, numRuns: number) => {
    let opened = 0;
    const check = async (one: T) => {
      const found = await outcome(toBytes(one));
      if (found === 'opened') opened++;
      else refusals.set(kindOf(found), (refusals.get(kindOf(found)) ?? 0) + 1);
    };
    await fc.assert(fc.asyncProperty(cases, check), { seed, numRuns });
    lines.push(`${name}: ${numRuns} cases, ${opened} opened, ${numRuns - opened} refused`);
  };
  for (const [i, file] of REAL_FILES.entries()) {
    const bytes = new Uint8Array(readFileSync(new URL(`../fixtures/${file}`, import.meta.url)));
    expect(await outcome(bytes)).toBe('opened');
    await fuzz(file, mutations, (list) => mutated(bytes, list), 100 + i, PER_FILE);
  }
  await fuzz('any bytes', arbitraryFiles, (bytes) => bytes, 98, ARBITRARY);
  await fuzz('any pickles', arbitraryStreams, (bytes) => bytes, 99, ARBITRARY);
  const reasons = [...refusals].sort((a, b) => b[1] - a[1]);
  console.log([...lines, `${reasons.length} reasons, the most frequent:`, ...reasons.slice(0, 40).map(([reason, count]) => `${String(count).padStart(6)} ${reason}`)].join('\n'));
}, 1_800_000);

/** A message without what differs from case to case. */
function kindOf(message: string): string {
  return message.replace(/^file: /, '').replace(/"[^"]*"|'[^']*'|\[[^\]]*\]/g, "'..'").replace(/0x[0-9a-f]+|\d+/g, 'N').slice(0, 80);
}
