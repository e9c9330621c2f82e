import { didYouMean } from '@espalier/core';
import { selectBackend } from '@espalier/core/backend';

/** Every bench by name; those that choose their backend themselves come first in their own words. */
const benches: Record<string, (args: string[]) => Promise<void>> = {
  'wasm-patches': async () => (await import('./wasm-patches.ts')).wasmPatches(),
  hooks: async () => {
    await selectBackend();
    await (await import('./hooks.ts')).hooks();
  },
  engine: async (args) => (await import('./engine/main.ts')).engine(args),
  gift: async (args) => (await import('./gift.ts')).giftSteps(args),
  spottune: async (args) => (await import('./spottune.ts')).spottuneSteps(args),
  load: async (args) => (await import('./load.ts')).load(args),
  ops: async (args) => (await import('./ops.ts')).ops(args),
  tangent: async () => (await import('./tangent.ts')).tangentSteps(),
  toast: async (args) => (await import('./toast.ts')).toastSteps(args),
  vqa: async (args) => (await import('./vqa/main.ts')).vqa(args),
};

const [name, ...args] = process.argv.slice(2);
const chosen = name === undefined ? undefined : benches[name];
if (name === undefined) console.log(`npm run bench -- NAME, one of ${Object.keys(benches).join(', ')}`);
else if (!chosen) {
  console.error(`no bench '${name}'.${didYouMean(name, Object.keys(benches))} There are ${Object.keys(benches).join(', ')}.`);
  process.exitCode = 2;
} else await chosen(args);
