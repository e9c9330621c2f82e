/** Region features of the demos: an 8 x 8 RGB patch. */
export const PATCH = 192;

/** What the sizes of all backbones share; `base` is the released configuration, which the schemas' defaults are. */
export const tiny = {
  vocab_size: 200, hidden_size: 64, num_attention_heads: 4, intermediate_size: 128, max_position_embeddings: 40, hidden_dropout_prob: 0,
  attention_probs_dropout_prob: 0, cls: 2, sep: 3,
};
export const small = { ...tiny, hidden_size: 128, intermediate_size: 512 };
