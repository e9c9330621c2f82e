import { adapt, ConflictError, type Adapted, type Plugin, type Restorer } from '@espalier/core';
import { disposeInputs, tinyInputs, type TinyInputs } from './inputs.ts';
import type { TinyModel, TinyOptions } from './tiny.ts';

/** What a plugin promises; the kit checks exactly that. */
export interface Traits {
  /** Attached and untrained, it changes no output. */
  readonly identityAtStart: boolean;
  /** It acts on weights only, so `merge` works; otherwise merging is refused. */
  readonly weightsOnly: boolean;
  /** A row's output depends on that row alone, whichever other rows run beside it. */
  readonly exactRows: boolean;
  /** Nothing in it is drawn: alone or beside others, another seed may give the same start and the same steps. */
  readonly seedless?: boolean;
  /** Variables that get no gradient, by a pattern of their names, and why. */
  readonly noGradient?: Reasons;
  /** Variables whose gradient is an estimate and not a derivative (straight-through), and why. */
  readonly estimated?: Reasons;
}
export type Reasons = readonly (readonly [name: RegExp, reason: string])[];

/** A plugin as the kit makes it: from its factory and options. */
export interface Subject {
  readonly factory: Restorer;
  readonly options?: unknown;
}
/** A plugin to attach beside the one under test. */
export interface Peer extends Subject {
  readonly weightsOnly: boolean;
}

/** One model with one stack of plugins, for one check. */
export interface Scene {
  readonly makeModel: (options?: TinyOptions) => TinyModel;
  readonly model: TinyModel;
  readonly inputs: TinyInputs;
  readonly subject: Subject;
  readonly peer: Peer | undefined;
  readonly traits: Traits;
  /** How many training steps a check takes: ten alone, fewer beside a peer. */
  readonly steps: number;
  /** The stack with the plugin under test in its place; peers can be frozen, instances renamed. */
  stack(change?: { readonly as?: string; readonly frozenPeer?: boolean }): Plugin[];
  /** The peers alone. */
  readonly others: readonly Plugin[];
  /** Puts plugins on the model; disposed with the scene. */
  adapt(plugins: readonly Plugin[], seed?: number): Adapted<TinyInputs>;
  /** Disposes this when the scene ends. */
  owns<T extends { dispose(): void }>(x: T): T;
  /** Whether a name belongs to the plugin under test. */
  mine(name: string): boolean;
}

export interface Setting {
  readonly makeModel: (options?: TinyOptions) => TinyModel;
  readonly subject: Subject;
  readonly traits: Traits;
  readonly peer?: Peer | undefined;
  readonly peerFirst?: boolean;
}

/** Runs a check in a scene of its own. Stacks that refuse to be built with a ConflictError have nothing to check. */
export async function withScene({ makeModel, subject, traits, peer, peerFirst = false }: Setting, check: (scene: Scene) => Promise<void>): Promise<void> {
  const held: { dispose(): void }[] = [];
  const owns = <T extends { dispose(): void }>(x: T): T => {
    held.unshift(x);
    return x;
  };
  const model = owns(makeModel());
  const inputs = tinyInputs();
  owns({ dispose: () => disposeInputs(inputs) });
  const peers = (trainable: boolean) => (peer ? [peer.factory.from(peer.options, { trainable })] : []);
  const instance = subject.factory.method;
  const scene: Scene = {
    makeModel, model, inputs, subject, peer, traits, owns, steps: peer ? 2 : 10,
    stack: ({ as, frozenPeer = false } = {}) => {
      const own = subject.factory.from(subject.options, as === undefined ? {} : { as });
      return peerFirst ? [...peers(!frozenPeer), own] : [own, ...peers(!frozenPeer)];
    },
    others: peers(true),
    adapt: (plugins, seed = 0) => owns(adapt(model, plugins, { seed })),
    mine: (name) => name.startsWith(`${instance}/`) || name.startsWith(`${instance}#`),
  };
  try {
    await check(scene);
  } catch (e) {
    if (!(peer && e instanceof ConflictError)) throw e;
  } finally {
    for (const x of held) x.dispose();
  }
}
