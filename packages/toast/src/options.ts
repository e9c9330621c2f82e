import { didYouMean } from '@espalier/core';
import { z } from 'zod';

const oneOf = <const T extends readonly [string, ...string[]]>(names: T) =>
  z.enum(names, { error: ({ input }) => `${JSON.stringify(input)} is none of ${names.join(', ')}.${typeof input === 'string' ? didYouMean(input, names) : ''}` });

const shape = z.strictObject({
  /** The maps A and B of the feedback path: whole, of low rank on a frozen base, or multiplied out for inference (`composeFeedback`). */
  feedback: oneOf(['full', 'lite', 'composed']).default('full'),
  /** r of 'lite'; default 4. */
  rank: z.int().positive().optional(),
  /** Of 'lite': the low-rank product is scaled by alpha / r; default 1. */
  alpha: z.number().positive().optional(),
  /** 'safe' (A and P the identity, B zero) changes nothing until trained; 'paper' draws xi from N(0, 1), A and B from N(0, 0.02^2). */
  init: oneOf(['safe', 'paper']).default('safe'),
  /** Of 'lite' and frozen A: whether there are bases to learn beside, frozen and saved, as pre-tuning leaves them. Always with init 'paper'. */
  bases: z.boolean().default(false),
  /** Feedback is taken where block `from - 1` ends, in the encoder's order; default where the last one ends. */
  from: z.int().positive().optional(),
  /** Blocks before this get no feedback and run once; default the first with cross-attention, 0 where there is none. */
  to: z.int().nonnegative().optional(),
  /** In a cross block: 'a', one signal per stream at cross- and self-attention; 'b', one B for each. */
  scheme: oneOf(['a', 'b']).default('a'),
  /** Which places of the last block get a signal of their own: 'cls', those that the answer reads, or all. */
  readout: oneOf(['cls', 'all']).default('cls'),
  /** What the task vector depends on: nothing, the question's top features (their mean), or those where the answer is read. */
  task: oneOf(['static', 'question', 'answer']).default('static'),
  /** Rank of the map from those features to the task vector; default a whole matrix. */
  taskRank: z.int().positive().optional(),
  /** One task vector per stream, or in a single stream one for regions and one for all other tokens. */
  vectors: oneOf(['stream', 'modality']).default('stream'),
  /** The task vector of other streams also depends on the feature where the answer is read. */
  crossTop: z.boolean().default(false),
  /** Token selection: false feeds all tokens back. */
  gate: z.boolean().default(true),
  /** Keep the channel transform P at the identity; default true for 'full', where A of the last block absorbs it. */
  freezeP: z.boolean().optional(),
  /** Keep every A as it is, so that B alone carries the feedback. */
  freezeA: z.boolean().default(false),
  /** c of the auxiliary loss c sum_l mean (A_l h_(l+1) - h_l)^2; 0 is none. */
  reconstruction: z.number().nonnegative().default(0),
  /** Whether the blocks of the first pass, and those that both share, have dropout while training, as published, or run as in prediction. That of the embeddings stays. */
  dropout: oneOf(['both', 'second']).default('both'),
  /** Whether the signal also reaches branches that run without plugins. */
  steerPretrained: z.boolean().default(true),
  /** 'reference' adds the value bias a second time, as the released image classifier does. */
  fidelity: oneOf(['described', 'reference']).default('described'),
});

export type Given = z.infer<typeof shape>;

/** Options of `toast`. Those that the others leave without effect are refused. */
export const options = shape.superRefine((given, context) => {
  const refuse = (path: keyof Given, message: string) => context.addIssue({ code: 'custom', path: [path], message });
  const { feedback, rank, alpha, from, to, task, taskRank, crossTop, gate, freezeA, reconstruction, bases, vectors } = given;
  if (from !== undefined && to !== undefined && from <= to) refuse('from', `feedback from ${from} to ${to} leaves no block to steer: from must be larger than to`);
  if (feedback !== 'lite') for (const [key, value] of [['rank', rank], ['alpha', alpha]] as const) if (value !== undefined) refuse(key, "only feedback 'lite' has one: drop it, or set feedback to 'lite'");
  if (taskRank !== undefined && task === 'static' && !crossTop) refuse('taskRank', "a static task vector depends on nothing: drop it, or set task to 'question' or 'answer'");
  if (crossTop && task === 'answer') refuse('crossTop', "task 'answer' makes every stream's vector depend on the same feature already: drop one of the two");
  if (!gate) {
    const idle = "without the gate there is no task vector: drop it, or set gate to true";
    if (task !== 'static') refuse('task', idle);
    if (crossTop) refuse('crossTop', idle);
    if (vectors !== 'stream') refuse('vectors', idle);
  }
  if (bases && feedback === 'full' && !freezeA) refuse('bases', "everything is trained from them: only feedback 'lite' and freezeA have frozen ones");
  if (reconstruction > 0 && (freezeA || feedback === 'composed')) refuse('reconstruction', 'it trains A alone, and A is frozen here: drop one of the two');
  if (feedback === 'composed' && (freezeA || bases)) refuse('feedback', "'composed' has neither A nor bases: it is made from a trained model by composeFeedback");
});

/** Options with every default filled in that does not depend on the model. */
export function settingsOf(given: Given) {
  const { feedback, rank = 4, alpha = 1, init, bases, freezeP } = given;
  return { ...given, rank, scale: alpha / rank, freezeP: freezeP ?? feedback === 'full', bases: bases || (init === 'paper' && (feedback === 'lite' || given.freezeA)) };
}
export type Settings = ReturnType<typeof settingsOf>;
