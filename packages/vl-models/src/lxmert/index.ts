import { bertConfig } from '../shared/bert-config.ts';
import { PATCH, small, tiny } from '../shared/sizes.ts';
import type { Backbone } from '../vqa-model.ts';
import { lxmertInputsFrom } from './inputs.ts';
import { lxmertKeys } from './keys.ts';
import { lxmert, LxmertConfig } from './model.ts';

export const lxmertBackbone: Backbone = {
  name: 'lxmert',
  modelType: 'lxmert',
  schema: LxmertConfig,
  featureKey: 'visual_feat_dim',
  answersKey: 'num_qa_labels',
  keys: lxmertKeys,
  sizes: {
    tiny: { ...tiny, l_layers: 1, r_layers: 1, x_layers: 1, visual_feat_dim: PATCH, num_qa_labels: 2 },
    small: { ...small, l_layers: 2, r_layers: 1, x_layers: 2, visual_feat_dim: PATCH, num_qa_labels: 2, skip_dead_branch: true },
    base: {},
  },
  fromBert: (bert) => {
    const { num_hidden_layers: layers, ...config } = bertConfig(bert);
    return { ...config, l_layers: Math.min(9, layers) };
  },
  build: (config, tensors) => lxmert(LxmertConfig.parse(config), tensors),
  inputsFrom: lxmertInputsFrom,
};
