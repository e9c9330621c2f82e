import { selectSchema, type WeightRole } from '@espalier/core';
import { z } from 'zod';

const select = selectSchema<WeightRole>();

/** What a preset trains; see `chosenBy`. */
export const PRESETS = ['head', 'all', 'bitfit', 'norms', 'embeddings', 'last'] as const;
/** The named arrays of places. */
export const PARTS = ['kernel', 'bias', 'gamma', 'beta', 'table'] as const;

const shape = z.strictObject({
  /** Which places; several selections add up. Instead of `preset`. */
  at: z.union([select, z.array(select).min(1).readonly()]).optional(),
  preset: z.enum(PRESETS).optional(),
  /** With preset 'last': how many blocks, counted from the last. */
  last: z.int().positive().optional(),
  /** Only these arrays of the chosen places; default all they have. */
  parts: z.array(z.enum(PARTS)).min(1).readonly().optional(),
  /** With preset 'head': makes the last linear anew for this many answers. */
  answers: z.int().positive().optional(),
  /** Start from the keyed initialiser instead of the pretrained values. */
  reinit: z.boolean().default(false),
});

/** Options of `tune`. Contradictions are refused with the way out of them. */
export const options = shape.superRefine(({ at, preset, last, parts, answers }, context) => {
  const refuse = (path: keyof z.infer<typeof shape>, message: string) => context.addIssue({ code: 'custom', path: [path], message });
  if (preset === undefined && at === undefined) refuse('preset', `nothing is chosen: give preset (${PRESETS.join(', ')}) or at`);
  if (preset !== undefined && at !== undefined) refuse('at', `both at and preset '${preset}' choose places: give one of them, or two instances named with { as }`);
  if (preset === 'last' && last === undefined) refuse('last', "preset 'last' needs to know how many blocks: add last: 2");
  if (preset !== 'last' && last !== undefined) refuse('last', "only preset 'last' counts blocks: add preset: 'last', or use at: { block: [from, to] }");
  if (preset !== 'head' && answers !== undefined) refuse('answers', "only preset 'head' makes a new answer layer: add preset: 'head', in an instance of its own");
  if (preset === 'bitfit' && parts !== undefined) refuse('parts', "preset 'bitfit' is every bias and beta already: drop parts, or use at");
  if (answers !== undefined && parts !== undefined) refuse('parts', 'a new answer layer has a kernel and a bias: drop parts');
});

export type TuneOptions = z.infer<typeof options>;
