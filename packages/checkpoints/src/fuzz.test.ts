import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { arbitraryFiles, arbitraryStreams, mutated, mutations, outcome } from '../fixtures/mutations.ts';

describe('a damaged file opens or is refused by a CheckpointError, within bounds of memory and steps', () => {
  it.each(['types.expected.safetensors', 'views.zip.pt', 'types.zip.pt', 'training.legacy.pt', 'views.legacy.pt'])('%s', async (file) => {
    const bytes = new Uint8Array(readFileSync(new URL(`../fixtures/${file}`, import.meta.url)));
    expect(await outcome(bytes)).toBe('opened');
    await fc.assert(fc.asyncProperty(mutations, async (list) => void (await outcome(mutated(bytes, list)))), { seed: 7, numRuns: 300 });
  });

  it.each([['bytes of any kind', arbitraryFiles], ['pickles of any kind', arbitraryStreams]])('%s', async (_, files) => {
    await fc.assert(fc.asyncProperty<[Uint8Array]>(files, async (bytes) => void (await outcome(bytes))), { seed: 7, numRuns: 300 });
  });
});
