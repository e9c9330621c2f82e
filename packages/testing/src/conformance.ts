import type { PluginFactory } from '@espalier/core';
import { checkInstances, checkOptions, checkSaving } from './check-identity.ts';
import { checkAccount, checkGroups, checkIdentity, checkMerge, checkRows, checkWithout } from './check-output.ts';
import { checkDifferences, checkFrozen, checkLeaks, checkReached, checkSeeds, checkShortcuts } from './check-training.ts';
import { adapter, scaler } from './peers.ts';
import { withScene, type Peer, type Scene, type Traits } from './scene.ts';
import { tinyOneStream, tinyTwoStream } from './tiny.ts';

/** The functions of a test runner that the kit needs; vitest's will do. */
export interface TestApi {
  describe(name: string, f: () => void): unknown;
  it(name: string, f: () => Promise<void>): unknown;
}

export interface KitOptions<I> {
  readonly test: TestApi;
  readonly options?: I; // of the plugin; default none
  /** Plugins to attach beside it, before and after; default one that scales weights and one that edits values. */
  readonly peers?: readonly Peer[];
}

type Check = readonly [name: string, check: (scene: Scene) => Promise<void>, applies?: (traits: Traits, peer: Peer | undefined) => boolean];

const CHECKS: readonly Check[] = [
  ['changes no output before it is trained', checkIdentity, (t) => t.identityAtStart],
  ['leaves the frozen arrays alone and moves only its own variables', checkFrozen],
  ['gives every variable a gradient', checkReached],
  ['has the gradients that central differences have', checkDifferences],
  ['has the same gradients with and without shortcuts', checkShortcuts],
  ['restores the base when taken off', checkWithout],
  ['survives saving and loading', checkSaving],
  ['merges, or refuses to', checkMerge],
  ['treats every row by itself', checkRows, (t) => t.exactRows],
  ['runs grouped rows as it runs blended ones', checkGroups, (t) => t.exactRows],
  ['coexists with another instance of itself', checkInstances],
  ['reads its options strictly', checkOptions, (_, peer) => !peer],
  ['repeats itself from the same seed', checkSeeds],
  ['leaks no tensor', checkLeaks],
  ['has its multiply-adds counted', checkAccount],
];

const MODELS = { 'one stream': tinyOneStream, 'two streams': tinyTwoStream };

/** Plugins to try another one beside. */
export const PEERS: readonly Peer[] = [
  { factory: scaler, weightsOnly: true },
  { factory: adapter, weightsOnly: false },
];

/**
 * Registers the tests that every plugin must pass, on a tiny model with one stream and one with two, alone and beside
 * other plugins in both orders. A stack that is refused with a ConflictError has passed: refusing is composing honestly.
 */
export function testPlugin<I>(factory: PluginFactory<I>, traits: Traits, { test, options, peers = PEERS }: KitOptions<I>): void {
  const stacks = [undefined, ...peers.flatMap((peer) => [{ peer, peerFirst: false }, { peer, peerFirst: true }])];
  for (const [model, makeModel] of Object.entries(MODELS))
    for (const beside of stacks) {
      const how = beside ? ` ${beside.peerFirst ? 'after' : 'before'} ${beside.peer.factory.method}` : '';
      test.describe(`${factory.method}${how}, ${model}`, () => {
        for (const [name, check, applies] of CHECKS)
          if (applies?.(traits, beside?.peer) ?? true) test.it(name, () => withScene({ makeModel, subject: { factory, options }, traits, ...beside }, check));
      });
    }
}
