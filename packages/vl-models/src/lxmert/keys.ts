import { bertLayer, naming, oldNames, type CheckpointKeys } from '../keys.ts';

const keyOf = naming([
  [/^head\.pooler$/, 'lxmert.pooler.dense'],
  [/^head\.up$/, 'answer_head.logit_fc.0'],
  [/^head\.norm$/, 'answer_head.logit_fc.2'],
  [/^head\.down$/, 'answer_head.logit_fc.3'],
  [/^text\.embed\.words$/, 'lxmert.embeddings.word_embeddings'],
  [/^text\.embed\.positions$/, 'lxmert.embeddings.position_embeddings'],
  [/^text\.embed\.segments$/, 'lxmert.embeddings.token_type_embeddings'],
  [/^text\.embed\.norm$/, 'lxmert.embeddings.LayerNorm'],
  [/^vision\.embed\.vision$/, 'lxmert.encoder.visn_fc.visn_fc'],
  [/^vision\.embed\.vision\.norm$/, 'lxmert.encoder.visn_fc.visn_layer_norm'],
  [/^vision\.embed\.boxes$/, 'lxmert.encoder.visn_fc.box_fc'],
  [/^vision\.embed\.boxes\.norm$/, 'lxmert.encoder.visn_fc.box_layer_norm'],
  [/^text\.(\d+)\./, 'lxmert.encoder.layer.$1.'],
  [/^vision\.(\d+)\./, 'lxmert.encoder.r_layers.$1.'],
  [/^cross\.(\d+)\./, 'lxmert.encoder.x_layers.$1.'],
  [/\.cross\.(query|key|value)$/, '.visual_attention.att.$1'],
  [/\.cross\.output$/, '.visual_attention.output.dense'],
  [/\.cross\.norm$/, '.visual_attention.output.LayerNorm'],
  [/\.(text|vision)\.attention\.(query|key|value)$/, '.$1_self_att.self.$2'],
  [/\.(text|vision)\.attention\.output$/, '.$1_self_att.output.dense'],
  [/\.(text|vision)\.attention\.norm$/, '.$1_self_att.output.LayerNorm'],
  [/\.(text|vision)\.ffn\.up$/, '.$1_inter.dense'],
  [/\.(text|vision)\.ffn\.down$/, '.$1_output.dense'],
  [/\.(text|vision)\.ffn\.norm$/, '.$1_output.LayerNorm'],
  [/\.text_/, '.lang_'],
  [/\.vision_/, '.visn_'],
  ...bertLayer,
]);

/** Canonical are Hugging Face's names; the authors' files say `bert.` for the backbone and, fine-tuned, `logit_fc.` for the head. */
export const lxmertKeys: CheckpointKeys = {
  of: () => keyOf,
  renames: [
    ...oldNames,
    [/^lxrt_encoder\.model\.(module\.)?/, ''],
    [/^bert\./, 'lxmert.'],
    [/^(embeddings|encoder|pooler)\./, 'lxmert.$1.'],
    [/^logit_fc\./, 'answer_head.logit_fc.'],
  ],
  original: [[/^lxmert\./, 'bert.']],
  spare: [],
  dropped: [/^cls\./, /^obj_predict_head\./, /\.position_ids$/],
  bert: [[[/^bert\./, 'lxmert.']]],
  fromBert: /^text\./,
};
