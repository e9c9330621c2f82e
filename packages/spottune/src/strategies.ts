import { didYouMean, type StageRole } from '@espalier/core';

/** What a closed gate does: runs the pretrained computation, passes the streams on, or runs a linear in its place. */
export type Off = 'frozen' | 'skip' | 'replace';

/** What is gated, how finely, and who decides where it is not a policy of one's own. */
export interface Strategy {
  readonly roles: readonly StageRole[];
  readonly off: Off;
  readonly oneDecision?: boolean; // which gate is the first open one, instead of one decision per gate
  readonly decides?: 'standard' | 'frozen' | 'last_k' | 'specific_k' | 'random' | 'global';
}

const BLOCKS: readonly StageRole[] = ['block'];
const SUBLAYERS: readonly StageRole[] = ['attention', 'cross', 'ffn'];
const COMPONENTS: readonly StageRole[] = ['attention.heads', 'attention.project', 'cross.heads', 'cross.project', 'ffn.expand', 'ffn.contract'];

export const STRATEGIES = {
  spottune_block: { roles: BLOCKS, off: 'frozen' },
  spottune: { roles: COMPONENTS, off: 'frozen' },
  spottune_res: { roles: SUBLAYERS, off: 'frozen' },
  spottune_prefix: { roles: BLOCKS, off: 'frozen', oneDecision: true },
  blockdrop: { roles: BLOCKS, off: 'skip' },
  blockreplace: { roles: BLOCKS, off: 'replace' },
  global: { roles: BLOCKS, off: 'frozen', decides: 'global' },
  random: { roles: BLOCKS, off: 'frozen', decides: 'random' },
  standard: { roles: BLOCKS, off: 'frozen', decides: 'standard' },
  frozen: { roles: BLOCKS, off: 'frozen', decides: 'frozen' },
  last_k: { roles: BLOCKS, off: 'frozen', decides: 'last_k' },
  specific_k: { roles: BLOCKS, off: 'frozen', decides: 'specific_k' },
} as const satisfies Readonly<Record<string, Strategy>>;

export type StrategyName = keyof typeof STRATEGIES;
export const STRATEGY_NAMES = Object.keys(STRATEGIES).filter((name): name is StrategyName => name in STRATEGIES);

/** The strategy of a name. */
export const strategyOf = (name: StrategyName): Strategy => STRATEGIES[name];

/** Spellings of the released code that differ from ours by more than case. */
const ALIASES: Readonly<Record<string, StrategyName>> = { pretrained_frozen: 'frozen', frozen_bert: 'frozen', global_mask: 'global' };

/** A strategy's own name from any spelling that is accepted. */
export function strategyName(given: string): StrategyName | undefined {
  const name = given.toLowerCase();
  return ALIASES[name] ?? STRATEGY_NAMES.find((own) => own === name);
}

/** Why there is no such strategy, with the nearest. */
export const noStrategy = (given: string): string =>
  `no strategy '${given}'.${didYouMean(given, [...STRATEGY_NAMES, ...Object.keys(ALIASES)])} There are ${STRATEGY_NAMES.join(', ')}.`;
