import { z } from 'zod';

const share = z.number().min(0).max(1);
const weight = z.number().positive().default(1);
/** What a rate is measured of: every gate alike, or by its share of the multiply-adds. */
const by = z.enum(['gates', 'macs']).default('gates');
/** Over all gates together, or block by block. */
const each = z.enum(['model', 'block']).default('model');
/** Probabilities have no noise; the released code used the sampled gates. */
const on = z.enum(['probabilities', 'samples']);

export const BudgetSchema = z.discriminatedUnion('kind', [
  z.strictObject({ kind: z.literal('target'), rate: share, weight, by, each, on: on.default('probabilities') }),
  z.strictObject({ kind: z.literal('hinge'), rate: share, weight, by, each, on: on.default('probabilities') }),
  z.strictObject({ kind: z.literal('lagrangian'), rate: share, penalty: z.number().positive().default(1), by, on: on.default('probabilities') }),
  z.strictObject({ kind: z.literal('capacity'), share: z.number().positive().max(1) }),
  z.strictObject({ kind: z.literal('k'), k: z.number().nonnegative(), weight, on: on.default('samples') }),
  z.strictObject({ kind: z.literal('deterministic'), weight, entropy: z.enum(['one-sided', 'binary']).default('one-sided'), on: on.default('samples') }),
  z.strictObject({ kind: z.literal('log-fraction'), weight, epsilon: z.number().nonnegative().default(1e-6), reduce: z.enum(['mean', 'sum']).default('mean'), on: on.default('samples') }),
]);
export type Budget = z.infer<typeof BudgetSchema>;
