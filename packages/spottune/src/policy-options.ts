import { z } from 'zod';

const probability = z.number().gt(0).lt(1);
/** The rate of open gates that training starts from: the output layer starts at zero but for these log-odds. */
const prior = probability.default(0.5);

export const PolicySchema = z.discriminatedUnion('kind', [
  z.strictObject({
    kind: z.literal('trunk'),
    /** Reads the streams before this block of the pretrained model; 0 reads the embeddings. */
    from: z.int().nonnegative().default(0),
    hidden: z.int().positive().default(128),
    prior,
  }),
  z.strictObject({
    kind: z.literal('independent'),
    /** Over the small configuration that the model chooses for it. */
    changes: z.record(z.string(), z.unknown()).default({}),
    prior,
    /** The output layer's kernel. */
    init: z.enum(['zero', 'xavier']).default('zero'),
    /** Gains that the norms of visual features start with. */
    visualGain: z.number().default(1),
  }),
  z.strictObject({
    kind: z.literal('global'),
    prior,
    /** Where gates mix: weight has the cost of one forward pass and can be merged; output relaxes as the other policies do. */
    mixAt: z.enum(['weight', 'output']).optional(),
  }),
  z.strictObject({ kind: z.literal('random'), rate: probability.default(0.5) }),
  z.strictObject({
    kind: z.literal('fixed'),
    /** One of 0 and 1 per gate, or the name of a control. */
    gates: z.union([z.array(z.union([z.literal(0), z.literal(1)])).min(1).readonly(), z.enum(['standard', 'frozen', 'last_k', 'specific_k'])]),
  }),
]);
export type PolicyOptions = z.infer<typeof PolicySchema>;
