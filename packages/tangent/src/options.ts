import { selectSchema, type WeightRole } from '@espalier/core';
import { z } from 'zod';

const select = selectSchema<WeightRole>();

/** What of the chosen blocks, and around them, is linearised. */
export const PARTS = ['attention', 'ffn', 'norms', 'biases', 'pooler', 'head', 'embeddings'] as const;
/** Of the tangents D: |D|^2, sqrt(1e-6 + |D|^2), or the sum of |d|. */
export const REGULARISERS = ['l2sq', 'l2norm', 'l1'] as const;

const shape = z.strictObject({
  /** Which places; several selections add up. Instead of `lastK` and `parts`. */
  at: z.union([select, z.array(select).min(1).readonly()]).optional(),
  /** How many blocks, counted from the last; 0 leaves pooler and head. Default all. */
  lastK: z.int().nonnegative().optional(),
  /** What of them; default everything but the embeddings. */
  parts: z.array(z.enum(PARTS)).min(1).readonly().optional(),
  /** Also, or with `places: false` only, variables of frozen plugins attached before, by instance: the tangent of a LoRA. */
  of: z.array(z.string().min(1)).min(1).readonly().optional(),
  /** false: no place of the model itself. */
  places: z.boolean().default(true),
  /** Draw linearised blocks, pooler and head anew and linearise about that. */
  reinit: z.boolean().default(false),
  /** Put a vector of its own, drawn with deviation 1e-6 and linearised, in place of the first token that enters the first linearised block. */
  replaceCls: z.boolean().default(false),
  regulariser: z.enum(REGULARISERS).default('l2sq'),
  /** Weight of the regulariser; 0 for none. */
  lambda: z.number().nonnegative().default(1e-5),
  /** Train with dropout, one mask for both parts. By default steps run as in prediction. */
  dropout: z.boolean().default(false),
  /** 'trainable' lets other plugins train beside it: the output is then not affine in all that is trained, and nothing composes. */
  beside: z.enum(['frozen', 'trainable']).default('frozen'),
});

/** Options of `tangent`. Contradictions are refused with the way out of them. */
export const options = shape.superRefine(({ at, lastK, parts, of, places, reinit, replaceCls }, context) => {
  const refuse = (path: keyof z.infer<typeof shape>, message: string) => context.addIssue({ code: 'custom', path: [path], message });
  if (at !== undefined && (lastK !== undefined || parts !== undefined)) refuse('at', 'at chooses places by itself: drop lastK and parts, or at');
  if (!places && of === undefined) refuse('places', 'false leaves nothing to linearise: add of, such as [\'lora\']');
  if (!places && (at !== undefined || lastK !== undefined || parts !== undefined)) refuse('places', 'false takes no place of the model: drop at, lastK and parts');
  if (!places && (reinit || replaceCls)) refuse('places', 'false takes no place of the model: drop reinit and replaceCls');
  if (at !== undefined && replaceCls) refuse('replaceCls', 'the token is put before the first linearised block: choose blocks by lastK, not by at');
  if (lastK === 0 && replaceCls) refuse('replaceCls', 'with lastK 0 no block is linearised: choose 1 or more');
});

export type TangentOptions = z.infer<typeof options>;
