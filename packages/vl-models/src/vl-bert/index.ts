import { zeros } from '@espalier/core';
import { bertConfig } from '../shared/bert-config.ts';
import { PATCH, small, tiny } from '../shared/sizes.ts';
import type { Backbone } from '../vqa-model.ts';
import { VlBertConfig } from './config.ts';
import { vlBertInputsFrom } from './inputs.ts';
import { vlBertKeys } from './keys.ts';
import { vlBert } from './model.ts';

export const vlBertBackbone: Backbone = {
  name: 'vl-bert',
  modelType: 'vl_bert',
  schema: VlBertConfig,
  featureKey: 'feat_dim',
  answersKey: 'num_answers',
  keys: vlBertKeys,
  sizes: {
    tiny: { ...tiny, visual_size: tiny.hidden_size, num_hidden_layers: 2, coord_dim: 16, feat_dim: PATCH, num_answers: 2, mask: 4 },
    small: { ...small, visual_size: small.hidden_size, num_hidden_layers: 4, coord_dim: 16, feat_dim: PATCH, num_answers: 2, mask: 4 },
    base: {},
  },
  fromBert: (bert) => {
    const config = bertConfig(bert);
    return { ...config, type_vocab_size: 3, visual_size: config.hidden_size };
  },
  // A new model sees nothing at first, as the reference's visual_scale_*_init of 0 has it.
  initializer: (path) => (/^joint\.embed\.(text|object)\.(vision\.norm\.gamma|scale\.table)$/.test(path) ? zeros : undefined),
  build: (config, tensors) => vlBert(VlBertConfig.parse(config), tensors),
  inputsFrom: (arrays, config) => vlBertInputsFrom(arrays, VlBertConfig.parse(config)),
};
