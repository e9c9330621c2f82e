import { z } from 'zod';

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
  hidden_act: z.literal('gelu').default('gelu'),
  hidden_dropout_prob: probability.default(0.1),
  attention_probs_dropout_prob: probability.default(0.1),
  bypass_transformer: z.literal(false).default(false),
  pad_token_id: id.default(1), // the row of the word table that training never moves; batches are padded with 0 all the same
  /** Segment of regions: 1 as Hugging Face's documentation has it, 0 as the authors' code runs. */
  visual_token_type_id: id.default(1),
  cls: id.default(101), // id of [CLS]
  sep: id.default(102), // id of [SEP]
  mask: id.default(103), // id of [MASK]
  /** Id of '?', with which the authors end a question; null adds none. */
  question_mark: id.nullable().default(1029),
});

/** Hugging Face's names; the number of labels is that of `id2label` where the file says nothing else. */
export const VisualBertConfig = z.preprocess((given) => {
  const labels = z.looseObject({ id2label: z.record(z.string(), z.unknown()), num_labels: z.undefined().optional() }).safeParse(given);
  return labels.success ? { ...labels.data, num_labels: Object.keys(labels.data.id2label).length } : given;
}, Fields);
export type VisualBertConfig = z.infer<typeof Fields>;
/** A configuration as written: what is left out has its default. */
export type VisualBertSettings = z.input<typeof Fields>;
