import { bertLayer, naming, oldNames, type CheckpointKeys, type Rules } from '../keys.ts';

const keyOf = naming([
  [/^head\.down$/, 'cls'],
  [/^joint\.embed\.vision$/, 'visual_bert.embeddings.visual_projection'],
  [/^joint\.embed\.vision\.positions$/, 'visual_bert.embeddings.visual_position_embeddings'],
  [/^joint\.embed\.vision\.segments$/, 'visual_bert.embeddings.visual_token_type_embeddings'],
  [/^joint\.embed\.words$/, 'visual_bert.embeddings.word_embeddings'],
  [/^joint\.embed\.positions$/, 'visual_bert.embeddings.position_embeddings'],
  [/^joint\.embed\.segments$/, 'visual_bert.embeddings.token_type_embeddings'],
  [/^joint\.embed\.norm$/, 'visual_bert.embeddings.LayerNorm'],
  [/^joint\.(\d+)\./, 'visual_bert.encoder.layer.$1.'],
  ...bertLayer,
]);

const fromBert: Rules = [[/^bert\./, 'visual_bert.']];

/** Canonical are Hugging Face's names; the authors' files say `bert.bert.` for the backbone, `bert.classifier.` or `bert.cls.` for the head. */
export const visualBertKeys: CheckpointKeys = {
  of: () => keyOf,
  renames: [
    ...oldNames,
    [/^bert\.(classifier|cls)\./, 'cls.'],
    [/^bert\.bert\./, 'visual_bert.'],
    [/^(embeddings|encoder|pooler)\./, 'visual_bert.$1.'],
    [/\.token_type_embeddings_visual\./, '.visual_token_type_embeddings.'],
    [/\.position_embeddings_visual\./, '.visual_position_embeddings.'],
    [/\.embeddings\.projection\./, '.embeddings.visual_projection.'],
  ],
  original: [
    [/\.visual_token_type_embeddings\./, '.token_type_embeddings_visual.'],
    [/\.visual_position_embeddings\./, '.position_embeddings_visual.'],
    [/\.embeddings\.visual_projection\./, '.embeddings.projection.'],
    [/^visual_bert\./, 'bert.bert.'],
    [/^cls\.(weight|bias)$/, 'bert.classifier.$1'],
    [/^cls\./, 'bert.cls.'],
  ],
  spare: [],
  dropped: [/^visual_bert\.pooler\./, /^cls\.(predictions|seq_relationship)\./, /detector/, /\.position_ids$/],
  // Positions and segments of regions start as copies of the text's.
  bert: [
    fromBert,
    [...fromBert, [/\.(position|token_type)_embeddings\./, '.visual_$1_embeddings.']],
  ],  fromBert: /^joint\.(\d+|embed\.(vision\.)?(words|positions|segments|norm))\./,
};
