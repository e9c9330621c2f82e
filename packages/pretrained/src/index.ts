export { weightsOf, type Pretrained } from './directory.ts';
export { HubError } from './errors.ts';
export { fetchPretrained } from './fetch-pretrained.ts';
export { fileSource } from './file-source.ts';
export type { FetchOptions, Progress } from './options.ts';
export { configurationOf, findModel, vocabularyIn, type FoundModel, type ModelChoice, type Size, type Vocabulary } from './find-model.ts';
export { fromPretrained, type PretrainedModel, type PretrainedOptions } from './from-pretrained.ts';
export { openWeights } from './open-weights.ts';
