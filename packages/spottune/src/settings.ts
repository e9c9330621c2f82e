import { selectSchema, type StageRole } from '@espalier/core';
import { z } from 'zod';
import { BudgetSchema } from './budget-options.ts';
import { PolicySchema, type PolicyOptions } from './policy-options.ts';
import { noStrategy, strategyName, strategyOf, type StrategyName } from './strategies.ts';

const positive = z.number().positive();

/** tau, or its course over the steps of training. */
export const TemperatureSchema = z.union([
  positive,
  z.strictObject({ from: positive, to: positive, steps: z.int().positive(), shape: z.enum(['linear', 'cosine', 'exponential']).default('linear') }),
]);
export const ESTIMATORS = ['st-gumbel', 'gumbel-rao', 'reinmax', 'score'] as const;

const StrategySchema = z.string().transform((given, context): StrategyName => {
  const name = strategyName(given);
  if (name !== undefined) return name;
  context.addIssue({ code: 'custom', message: noStrategy(given) });
  return z.NEVER;
});

const shape = z.strictObject({
  /** What is gated and what a closed gate does; names of `STRATEGIES` and the released code's spellings. */
  strategy: StrategySchema.default('spottune_block'),
  /** Only these of the strategy's stages: stream, block, path. */
  at: selectSchema<StageRole>().optional(),
  /** Tune full copies of what is gated (the paper). False: route to whatever the other plugins make of it. */
  copies: z.boolean().default(true),
  /** Who decides. Default a trunk; strategies that name a decision bring their own. */
  policy: PolicySchema.optional(),
  /** With 'last_k': how many blocks are tuned, counted from the last. */
  last: z.int().positive().optional(),
  /** With 'specific_k': which blocks stay frozen, from 0. */
  blocks: z.array(z.int().nonnegative()).min(1).readonly().optional(),
  /** How a gate's logits get their gradient. The forward sample is the same. */
  estimator: z.enum(ESTIMATORS).default('st-gumbel'),
  temperature: TemperatureSchema.default(5),
  /** In prediction: the more likely branch, a draw keyed as in training, or what more than half of so many draws choose. */
  evaluation: z.union([z.enum(['argmax', 'sample']), z.strictObject({ majority: z.int().positive() })]).optional(),
  /**
   * How the policy is moved, unless the training says otherwise. described: as all else, clipped by itself at norm 1. The
   * released codes: at a constant rate and never clipped, by VL-BERT's AdamW or by plain SGD at 1e-4.
   */
  policyOptimiser: z.enum(['described', 'reference-vlbert', 'reference-lxmert']).optional(),
  budget: z.union([BudgetSchema, z.array(BudgetSchema).min(1).readonly()]).optional(),
  /** grouped: each sample runs only its branch. dense: both, mixed. auto: grouped where the backend does not record training steps. */
  executor: z.enum(['auto', 'grouped', 'dense']).default('auto'),
  /** Which of the branches not taken a grouped training step evaluates for the gates' gradient. */
  counterfactual: z.strictObject({ fraction: positive.max(1).default(1), every: z.int().positive().default(1) }).default({ fraction: 1, every: 1 }),
  /** Gates: all there are, or without those that the answer does not depend on. */
  readout: z.enum(['all', 'cls']).default('all'),
  /** False: embeddings, their norms and projections and the pooler are tuned too, without a frozen twin. */
  freezeEmbeddings: z.boolean().optional(),
  /** Whether the frozen branch drops out in training. */
  frozenDropout: z.boolean().optional(),
  /** What the frozen branch (or the replacement) reads: the unit's input, or what the tuned one made of it. */
  branchInput: z.enum(['parallel', 'sequential']).optional(),
  /** dead: in one stream, the gates of attention outputs have no effect. */
  aoGate: z.enum(['live', 'dead']).optional(),
  /** shared: with spottune_res, the feed-forward's first half is always the tuned one. */
  resIntermediate: z.enum(['gated', 'shared']).optional(),
  /** reference: every setting above that has no value takes the one of the released code. */
  fidelity: z.enum(['described', 'reference']).default('described'),
});

/** Options of `spottune`. Contradictions are refused with the way out of them. */
export const options = shape.superRefine((given, context) => {
  const refuse = (path: keyof z.infer<typeof shape>, message: string) => context.addIssue({ code: 'custom', path: [path], message });
  const { decides, off, oneDecision } = strategyOf(given.strategy);
  const { policy } = given;
  if (decides !== undefined && policy !== undefined && policy.kind !== decides) refuse('policy', `strategy '${given.strategy}' decides by itself: drop policy, or name what is gated (spottune_block, spottune_res, spottune)`);
  if ((decides === 'last_k') !== (given.last !== undefined)) refuse('last', "strategy 'last_k' and option last belong together: { strategy: 'last_k', last: 4 }");
  if ((decides === 'specific_k') !== (given.blocks !== undefined)) refuse('blocks', "strategy 'specific_k' and option blocks belong together: { strategy: 'specific_k', blocks: [2, 3] }");
  const mixed = policyOf(given).kind === 'global' && mixesWeights(given);
  if (given.estimator === 'score' && mixed) refuse('estimator', "gates inside weights have no score function estimate: use another estimator, or policy: { kind: 'global', mixAt: 'output' }");
  if (policy?.kind === 'global' && policy.mixAt === 'weight' && (!given.copies || off !== 'frozen' || oneDecision))
    refuse('policy', "mixAt 'weight' mixes copies of weights with the pretrained ones: it needs copies and a strategy of independent gates that are frozen where closed. Use mixAt: 'output'");
  const budgets = given.budget === undefined ? [] : isList(given.budget) ? given.budget : [given.budget];
  if (budgets.length && !learns(policyOf(given).kind)) refuse('budget', 'nothing learns to keep it: decisions are fixed here. Drop it, or choose a policy of kind trunk, independent or global');
  if (oneDecision && budgets.some((b) => b.kind === 'capacity')) refuse('budget', 'a capacity opens gates one by one, and this strategy opens all from one on: use a target');
  if (oneDecision && (given.estimator === 'gumbel-rao' || given.estimator === 'reinmax')) refuse('estimator', "one decision among many has the estimators 'st-gumbel' and 'score'");
  if (budgets.some((b) => b.kind === 'capacity') && policyOf(given).kind === 'global') refuse('budget', 'a capacity chooses among samples, and a global decision is the same for all');
});

export type Given = z.infer<typeof shape>;

const isList = <T>(x: T | readonly T[]): x is readonly T[] => Array.isArray(x);

/** Who decides, defaults filled in. */
export function policyOf({ strategy, policy }: Pick<Given, 'strategy' | 'policy'>): PolicyOptions {
  if (policy) return policy;
  const { decides } = strategyOf(strategy);
  if (decides === undefined) return PolicySchema.parse({ kind: 'trunk' });
  return decides === 'random' || decides === 'global' ? PolicySchema.parse({ kind: decides }) : { kind: 'fixed', gates: decides };
}

/** Whether a policy has variables. */
export const learns = (kind: PolicyOptions['kind']): boolean => kind === 'trunk' || kind === 'independent' || kind === 'global';

/** Whether global gates choose inside weights; otherwise between outputs. */
export const mixesWeights = ({ strategy, policy, copies }: Pick<Given, 'strategy' | 'policy' | 'copies'>): boolean =>
  copies && strategyOf(strategy).off === 'frozen' && !strategyOf(strategy).oneDecision && !(policy?.kind === 'global' && policy.mixAt === 'output');

/** Options with every default filled in. */
export function settingsOf(given: Given) {
  const reference = given.fidelity === 'reference';
  const policy = policyOf(given);
  return {
    ...given,
    policy,
    budgets: given.budget === undefined ? [] : isList(given.budget) ? given.budget : [given.budget],
    // A random policy that took the likelier branch would not be random.
    evaluation: given.evaluation ?? (reference || policy.kind === 'random' ? 'sample' : 'argmax'),
    freezeEmbeddings: given.freezeEmbeddings ?? !reference,
    frozenDropout: given.frozenDropout ?? reference,
    branchInput: given.branchInput ?? (reference ? 'sequential' : 'parallel'),
    aoGate: given.aoGate ?? (reference ? 'dead' : 'live'),
    resIntermediate: given.resIntermediate ?? (reference ? 'shared' : 'gated'),
  };
}
export type Settings = ReturnType<typeof settingsOf>;
