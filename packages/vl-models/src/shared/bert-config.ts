import { CheckpointError } from '@espalier/core';
import { z } from 'zod';

/** What the layers here are: anything else in a configuration changes what its weights mean. */
export const blockFields = {
  hidden_act: z.literal('gelu').default('gelu'),
  layer_norm_eps: z.literal(1e-12).default(1e-12),
  position_embedding_type: z.literal('absolute').default('absolute'),
};

const Bert = z.looseObject({ ...blockFields, num_hidden_layers: z.int().positive().default(12), hidden_size: z.int().positive().default(768) });

/** A BERT's configuration without its name. @throws CheckpointError for layers of another kind. */
export function bertConfig(given: Readonly<Record<string, unknown>>): z.output<typeof Bert> {
  const { model_type: _, ...rest } = given;
  const parsed = Bert.safeParse(rest);
  if (!parsed.success) throw new CheckpointError(`the configuration of the BERT: ${parsed.error.issues.map((i) => `'${i.path.join('.')}': ${i.message}`).join('; ')}`);
  return parsed.data;
}
