type Attention = 'attention' | 'cross';

/** Places with a kernel and a bias. */
export type LinearRole =
  | `${Attention}.${'query' | 'key' | 'value' | 'output'}`
  | 'ffn.up'
  | 'ffn.down'
  | 'embed.vision'
  | 'embed.boxes'
  | 'pooler'
  | 'head.up'
  | 'head.down';
/** Places with a gain and an offset. */
export type NormRole = `${Attention | 'ffn' | 'embed' | 'head'}.norm` | 'embed.vision.norm' | 'embed.boxes.norm';
/** Tables of rows. */
export type EmbeddingRole = `embed.${'words' | 'positions' | 'segments' | 'regions' | 'end' | 'scale'}`;
/** Everything that has parameters. */
export type WeightRole = LinearRole | NormRole | EmbeddingRole;
/**
 * Values on their way. A linear's role names its output, with `.input` what it reads.
 * `*.scores` and `*.probabilities` are [B, H, Tq, Tk], `*.context`, `block.output` and `embed.output` [B, T, D],
 * `ffn.hidden` [B, T, 4D], `pooled` [B, D], `logits` [B, A].
 */
export type SiteRole =
  | LinearRole
  | `${LinearRole}.input`
  | `${Attention}.${'scores' | 'probabilities' | 'context'}`
  | 'ffn.hidden'
  | 'block.output'
  | 'embed.output'
  | 'pooled'
  | 'logits';
/** Everything that runs: the encoder holds blocks, a block sublayers, a sublayer components. */
export type StageRole =
  | 'encoder'
  | 'block'
  | Attention
  | 'ffn'
  | `${Attention}.${'heads' | 'project'}`
  | `ffn.${'expand' | 'contract'}`;
