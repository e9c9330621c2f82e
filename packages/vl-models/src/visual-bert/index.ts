import { z } from 'zod';
import { bertConfig } from '../shared/bert-config.ts';
import { PATCH, small, tiny } from '../shared/sizes.ts';
import type { Backbone } from '../vqa-model.ts';
import { VisualBertConfig } from './config.ts';
import { visualBertInputsFrom } from './inputs.ts';
import { visualBertKeys } from './keys.ts';
import { visualBert } from './model.ts';

const Architectures = z.looseObject({ architectures: z.array(z.string()).default([]) });

export const visualBertBackbone: Backbone = {
  name: 'visual-bert',
  modelType: 'visual_bert',
  schema: VisualBertConfig,
  featureKey: 'visual_embedding_dim',
  answersKey: 'num_labels',
  keys: visualBertKeys,
  sizes: {
    tiny: { ...tiny, num_hidden_layers: 2, visual_embedding_dim: PATCH, num_labels: 2, pad_token_id: 0, mask: 4, question_mark: null },
    small: { ...small, num_hidden_layers: 4, visual_embedding_dim: PATCH, num_labels: 2, pad_token_id: 0, mask: 4, question_mark: null },
    base: {},
  },
  // Their heads are called `cls` too and read the pooler, or every word.
  otherHead: (config) => Architectures.parse(config).architectures.find((name) => /^VisualBertFor(VisualReasoning|MultipleChoice|RegionToPhraseAlignment)$/.test(name)),
  fromBert: (bert) => ({ ...bertConfig(bert), pad_token_id: 0 }),
  build: (config, tensors) => visualBert(VisualBertConfig.parse(config), tensors),
  inputsFrom: (arrays, config) => visualBertInputsFrom(arrays, VisualBertConfig.parse(config)),
};
