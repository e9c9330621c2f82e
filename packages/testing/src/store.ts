import type { Store } from '@espalier/core';

/** A model directory in memory. */
export const memoryStore = (files: Map<string, Uint8Array> = new Map()): Store & { readonly files: Map<string, Uint8Array> } => ({
  files,
  read: (name) => Promise.resolve(files.get(name)),
  write: (name, bytes) => {
    files.set(name, bytes.slice());
    return Promise.resolve();
  },
});
