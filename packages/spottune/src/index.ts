export type { Budget } from './budget-options.ts';
export type { PolicyOptions } from './policy-options.ts';
export { spottune } from './spottune.ts';
export { STRATEGY_NAMES, type StrategyName } from './strategies.ts';
export type { Tokens } from './units.ts';
export { decisionsOf, gatesOf, globalGates, usageOf, type Decisions, type Gate, type Usage } from './usage.ts';
