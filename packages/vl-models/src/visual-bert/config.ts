import { z } from 'zod';
import { blockFields } from '../shared/bert-config.ts';

const dimension = z.int().positive();
const id = z.int().nonnegative();
const probability = z.number().min(0).max(1);

const Fields = z.looseObject({
  model_type: z.literal('visual_bert').default('visual_bert'),
  vocab_size: dimension.default(30522),
  hidden_size: dimension.default(768),
  visual_embedding_dim: dimension.default(2048), // VQA; 1024 of NLVR2, 512 of VCR
  num_hidden_layers: dimension.default(12),
  num_attention_heads: dimension.default(12),
  intermediate_size: dimension.default(3072),
  max_position_embeddings: dimension.default(512),
  type_vocab_size: dimension.default(2),
  num_labels: dimension.default(3129),
  ...blockFields,
  /** In the last block compute the state alone that the answer is read from. */
  skip_dead_rows: z.boolean().default(false),
  hidden_dropout_prob: probability.default(0.1),
  attention_probs_dropout_prob: probability.default(0.1),
  bypass_transformer: z.literal(false).default(false),
  pad_token_id: id.nullable().default(1), // the row of the word table that training never moves; batches are padded with 0 all the same
  /** Segment of regions: 1 as Hugging Face's documentation has it, 0 as the authors' code runs. */
  visual_token_type_id: id.default(1),
  cls: id.default(101), // id of [CLS]
  sep: id.default(102), // id of [SEP]
  mask: id.default(103), // id of [MASK]
  /** Id of '?', with which the authors end a question; null adds none. */
  question_mark: id.nullable().default(1029),
});

const Labels = z.looseObject({ id2label: z.record(z.string(), z.unknown()).optional(), num_labels: z.int().optional(), transformers_version: z.string().optional() });

/** Hugging Face's names; the number of labels is that of `id2label`, which its own files leave out for two labels. */
export const VisualBertConfig = z.preprocess((given) => {
  const parsed = Labels.safeParse(given);
  if (!parsed.success || parsed.data.num_labels !== undefined) return given;
  const { id2label, transformers_version: written } = parsed.data;
  const labels = id2label ? Object.keys(id2label).length : written === undefined ? undefined : 2;
  return labels === undefined ? given : { ...parsed.data, num_labels: labels };
}, Fields);
export type VisualBertConfig = z.infer<typeof Fields>;
/** A configuration as written: what is left out has its default. */
export type VisualBertSettings = z.input<typeof Fields>;
