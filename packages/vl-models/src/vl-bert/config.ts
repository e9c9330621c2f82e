import { z } from 'zod';
import { blockFields } from '../shared/bert-config.ts';

const dimension = z.int().positive();
const probability = z.number().min(0).max(1);

/** Names and defaults of the released VQA configuration (base). */
export const VlBertConfig = z.looseObject({
  model_type: z.literal('vl_bert').default('vl_bert'),
  vocab_size: dimension.default(30522),
  hidden_size: dimension.default(768),
  visual_size: dimension.default(768),
  num_hidden_layers: dimension.default(12),
  num_attention_heads: dimension.default(12),
  intermediate_size: dimension.default(3072),
  max_position_embeddings: dimension.default(512),
  type_vocab_size: z.literal(3).default(3),
  ...blockFields,
  /** How the visual part of an element is brought to the size of words: layer normalisation, or one number per branch. */
  visual_ln: z.boolean().default(true),
  /** Words see no image: their visual part is that of a vector of zeros. */
  no_grounding: z.boolean().default(false),
  num_answers: dimension.default(3129),
  coord_dim: dimension.default(256), // frequencies per box number; 8 coord_dim numbers per box
  feat_dim: dimension.default(2048),
  /** `mlm`: Linear GELU LN Linear, as the released models; `2fc`: Linear ReLU Linear; `1fc`: Linear. */
  classifier: z.enum(['mlm', '2fc', '1fc']).default('mlm'),
  classifier_hidden_size: dimension.default(1024), // of 2fc
  /** In the last block compute the state alone that the answer is read from. */
  skip_dead_rows: z.boolean().default(false),
  hidden_dropout_prob: probability.default(0.1),
  attention_probs_dropout_prob: probability.default(0.1),
  cls: z.int().nonnegative().default(101), // id of [CLS]
  sep: z.int().nonnegative().default(102), // id of [SEP]
  mask: z.int().nonnegative().default(103), // id of [MASK]
});
export type VlBertConfig = z.infer<typeof VlBertConfig>;
