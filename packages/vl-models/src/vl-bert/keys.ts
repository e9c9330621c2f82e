import { bertLayer, naming, oldNames, type CheckpointKeys, type Rules } from '../keys.ts';
import { VlBertConfig } from './config.ts';

/** Where the layers of each classifier stand in the authors' sequence of modules. */
const heads: Readonly<Record<VlBertConfig['classifier'], Rules>> = {
  mlm: [
    [/^head\.up$/, 'final_mlp.0.dense'],
    [/^head\.norm$/, 'final_mlp.0.LayerNorm'],
    [/^head\.down$/, 'final_mlp.2'],
  ],
  '2fc': [
    [/^head\.up$/, 'final_mlp.1'],
    [/^head\.down$/, 'final_mlp.4'],
  ],
  '1fc': [[/^head\.down$/, 'final_mlp.1']],
};

const body: Rules = [
  [/^joint\.embed\.words$/, 'vlbert.word_embeddings'],
  [/^joint\.embed\.positions$/, 'vlbert.position_embeddings'],
  [/^joint\.embed\.segments$/, 'vlbert.token_type_embeddings'],
  [/^joint\.embed\.regions$/, 'object_linguistic_embeddings'],
  [/^joint\.embed\.end$/, 'vlbert.end_embedding'],
  [/^joint\.embed\.norm$/, 'vlbert.embedding_LayerNorm'],
  [/^joint\.embed\.vision$/, 'image_feature_extractor.obj_downsample.1'],
  [/^joint\.embed\.(text|object)\.vision$/, 'vlbert.visual_1x1_$1'],
  [/^joint\.embed\.(text|object)\.vision\.norm$/, 'vlbert.visual_ln_$1'],
  [/^joint\.embed\.(text|object)\.scale$/, 'vlbert.visual_scale_$1'],
  [/^joint\.(\d+)\./, 'vlbert.encoder.layer.$1.'],
  ...bertLayer,
];

/** The names of the authors' VQA model, without `module.`. */
export const vlBertKeys: CheckpointKeys = {
  of: (config) => {
    const keyOf = naming([...heads[VlBertConfig.parse(config).classifier], ...body]);
    // A scale is a parameter of its own, not the weight of a module.
    return (path) => keyOf(path).replace(/(\.visual_scale_(?:text|object))\.weight$/, '$1');
  },
  renames: oldNames,
  original: [],
  spare: [[/^vlbert\.mlm_head\.predictions\.transform\./, 'final_mlp.0.']],
  dropped: [
    /^vlbert\.(mlm_head|mvrc_head|relationsip_head|relationship_head|pooler)\./,
    /^object_mask_/,
    /^aux_text_visual_embedding\./,
    /^image_feature_extractor\.(?!obj_downsample\.)/, // the detector's network, in end-to-end files
  ],
  bert: [
    [
      [/^bert\.embeddings\.LayerNorm\./, 'vlbert.embedding_LayerNorm.'],
      [/^bert\.embeddings\./, 'vlbert.'],
      [/^bert\./, 'vlbert.'],
      [/^cls\.predictions\.transform\./, 'final_mlp.0.'],
    ],
  ],  fromBert: /^joint\.(\d+|embed\.(words|positions|segments|norm))\./,
  longerThanBert: /^joint\.embed\.segments\.table$/,
};
