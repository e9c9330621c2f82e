import { didYouMean, selectSchema, type LinearRole } from '@espalier/core';
import { z } from 'zod';

/** What stands between the projections: nothing (v2), or a small network over the rows of W, the parameter tokens. */
export const GENERATORS = ['linear', 'paca', 'paca-attention', 'transformer', 'mlp', 'mixer'] as const;
/** Which sites share one generator: those of one role and stream, of one role, all of them, or none. */
export const SHARING = ['stream', 'role', 'global', 'site'] as const;
/** Nonlinearities of the linear generator. */
export const ACTIVATIONS = ['identity', 'sigmoid', 'hsigmoid', 'softmax', 'gelu'] as const;
/** Of the parameter tokens: none, a sinusoid of the spread of W before the reduction, or learned after it. */
export const POSITIONS = ['none', 'sin', 'learnedRank'] as const;
/** How training computes: x + (x psi') phi' through W, or W with the low-rank tail psi' g(phi' W). */
export const FORMS = ['auto', 'activation', 'low-rank'] as const;

export type GeneratorName = (typeof GENERATORS)[number];
export type ActivationName = (typeof ACTIVATIONS)[number];

const oneOf = <const T extends readonly [string, ...string[]]>(names: T) =>
  z.enum(names, { error: ({ input }) => `${JSON.stringify(input)} is none of ${names.join(', ')}.${typeof input === 'string' ? didYouMean(input, names) : ''}` });

const shape = z.strictObject({
  /** What generates the update from W. */
  generator: oneOf(GENERATORS).default('linear'),
  /** Inner width r, at most the width of what the linears read. */
  rank: z.int().positive().default(16),
  /** Which linears; default `attention.output`, and `cross.output` where the model has it. */
  at: selectSchema<LinearRole>().optional(),
  sharing: oneOf(SHARING).default('stream'),
  /** 'auto' is the activation form where there is one, otherwise the low-rank form. */
  form: oneOf(FORMS).default('auto'),
  /** A bias gamma [r] on W phi, drawn uniformly within 1 / sqrt(in). */
  inBias: z.boolean().default(false),
  /** A bias beta [in] on the update, the same for every row of W; starts at zero. */
  outBias: z.boolean().default(false),
  /** Of the linear generator; default identity. */
  activation: oneOf(ACTIVATIONS).optional(),
  /** What a softmax sums to one over: the output channels or the inner width. */
  axis: oneOf(['outputs', 'rank']).optional(),
  /** M, clusters of PaCa; default 64. */
  clusters: z.int().positive().optional(),
  /** Heads of attention; default 1. */
  heads: z.int().positive().optional(),
  /** Blocks; default 1. */
  depth: z.int().positive().optional(),
  /** Hidden width of a block's feed-forward as a multiple of the rank; default 2. */
  ffnRatio: z.number().positive().optional(),
  /** Hidden width of the mixer over the output channels; default 64. */
  mixedTokens: z.int().positive().optional(),
  /** Of the parameter tokens; default none. */
  posEnc: oneOf(POSITIONS).optional(),
});

export type GiftOptions = z.infer<typeof shape>;

const networks = GENERATORS.filter((name) => name !== 'linear');
const USED_BY: Partial<Record<keyof GiftOptions, readonly GeneratorName[]>> = {
  activation: ['linear'],
  axis: ['linear'],
  clusters: ['paca', 'paca-attention'],
  heads: ['paca', 'paca-attention', 'transformer'],
  depth: networks,
  ffnRatio: ['paca', 'transformer', 'mlp', 'mixer'],
  mixedTokens: ['mixer'],
  posEnc: networks,
};

/** Options of `gift`. An option that the chosen generator does not read is refused. */
export const options = shape.superRefine((given, context) => {
  const refuse = (path: keyof GiftOptions, message: string) => context.addIssue({ code: 'custom', path: [path], message });
  const { generator, rank, heads = 1, activation = 'identity', axis, form, inBias, ffnRatio = 2 } = given;
  for (const [name, users] of Object.entries(USED_BY))
    if (isOption(name) && given[name] !== undefined && !users.includes(generator))
      refuse(name, `generator '${generator}' has no ${name}: drop it, or choose generator ${users.map((u) => `'${u}'`).join(' or ')}`);
  if (rank % heads) refuse('heads', `rank ${rank} does not split into ${heads} heads: choose a divisor of the rank`);
  if (rank * ffnRatio < 1) refuse('ffnRatio', `${ffnRatio} of rank ${rank} leaves no hidden unit: choose at least ${1 / rank}`);
  if (activation === 'softmax' && axis === undefined) refuse('axis', "softmax needs to know over what: add axis: 'outputs' or 'rank'");
  if (activation !== 'softmax' && axis !== undefined) refuse('axis', `only activation 'softmax' has an axis: drop it`);
  if (form === 'activation' && (generator !== 'linear' || activation !== 'identity' || inBias))
    refuse('form', "only generator 'linear' with activation 'identity' and without inBias has an activation form: use 'auto' or 'low-rank'");
});

const isOption = (name: string): name is keyof GiftOptions => name in shape.shape;

/** Options with everything filled in that the generator may read. */
export interface Settings extends GiftOptions {
  readonly activation: ActivationName;
  readonly clusters: number;
  readonly heads: number;
  readonly depth: number;
  readonly ffnRatio: number;
  readonly mixedTokens: number;
  readonly posEnc: (typeof POSITIONS)[number];
}

export const settingsOf = (given: GiftOptions): Settings => ({
  ...given,
  activation: given.activation ?? 'identity',
  clusters: given.clusters ?? 64,
  heads: given.heads ?? 1,
  depth: given.depth ?? 1,
  ffnRatio: given.ffnRatio ?? 2,
  mixedTokens: given.mixedTokens ?? 64,
  posEnc: given.posEnc ?? 'none',
});

/** M: the rank takes its place where the generator has no clusters. */
export const clustersOf = ({ generator, clusters, rank }: Settings): number => (generator === 'paca' || generator === 'paca-attention' ? clusters : rank);
