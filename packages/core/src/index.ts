export { Account, totalMacs, type CostRow, type Way } from './account.ts';
export { costsOf, spreadOf, type Cost, type Costs, type Spread } from './costs.ts';
export { activationMemory, type ActivationStore, type CacheStatistics } from './cache.ts';
export { adapt, Adapted, type AdaptOptions, type LearnOptions, type Learned, type Model } from './adapt.ts';
export { pluginCommand, type Application, type DirectoryFiles, type PluginCommand, type Workplace } from './command.ts';
export { CheckpointError, ConflictError, didYouMean, EspalierError, nearest, OptionsError, RefusedError, SelectionError } from './errors.ts';
export { around, begin, measure, readout, value, weight, type Activation, type Hook, type Measured, type Run, type StageMode, type WeightMode, type Where } from './hooks.ts';
export { constant, copyOf, kaiming, normal, ones, uniform, xavier, zeros, type Initializer } from './initializers.ts';
export { dtypeOf, elementsOf, storedSize, type Dtype, type StoredTensor } from './dtypes.ts';
export { adopt, graphBackend, type GraphBackend } from './engine.ts';
export { addGradients, denseGradient, gradientTensors, isRowGradient, multiplyGradient, squaredNormOf, type Gradient, type RowGradient } from './gradient.ts';
export { digest, digestText } from './fingerprint.ts';
export { floatToBrain, floatToHalf } from './half.ts';
export { FROZEN } from './host.ts';
export { isolate } from './isolate.ts';
export type { Feeder, StepKey } from './feed.ts';
export { parseJsonObject } from './json-object.ts';
export type { Learner, LearnerOptions, Lesson } from './learner.ts';
export type { Distribution } from './noise.ts';
export {
  add, asDual, concat, embed, evaluate, gelu, layerNorm, mask, matMul, mean, mul, normalise, relu, reshape, scale, sigmoid, slice, softmax, sub, sum,
  takeRows, tanh, transpose, unitRows,
} from './ops.ts';
export { explainIssues, selectSchema } from './options.ts';
export { measurements, type Measurement } from './measurements.ts';
export { Plan, type Attached, type Table } from './plan.ts';
export type { PrivacyRequest, PrivateTraining } from './private-training.ts';
export { definePlugin, HOOK_API, type Definition, type GroupDefaults, type Host, type Named, type Plugin, type PluginFactory, type Restorer } from './plugin.ts';
export {
  sequence, within, type EmbeddingPoint, type LinearPoint, type LinearSite, type ModelWeight, type NormPoint, type ParameterPoint, type Point,
  type SitePoint, type SourcePoint, type Stage, type StagePoint, type WeightPoint,
} from './points.ts';
export { random, type Key, type Random } from './random.ts';
export { readings, type Reading } from './readings.ts';
export type { EmbeddingRole, LinearRole, NormRole, SiteRole, StageRole, WeightRole } from './roles.ts';
export { divide, blend, group, route, through, type Branch } from './route.ts';
export { joinRows, listed, packed, type Partition } from './partition.ts';
export { isGroup, RaggedError, type RowGroup, type Rows } from './samples.ts';
export { gatherRows, scatterRows } from './rows.ts';
export { readSafetensors, writeSafetensors, type SafetensorsFile } from './safetensors.ts';
export { parseSafetensorsHeader, safetensorsHeaderLength, type SafetensorsHeader, type TensorSpan } from './safetensors-header.ts';
export { layoutSafetensors, type SafetensorsLayout, type TensorHead } from './safetensors-layout.ts';
export { memorySize, tensorMemory, type TensorMemory } from './tensor-memory.ts';
export { load, readManifest, restore, save, start, type LoadOptions, type Manifest, type SaveOptions, type Store } from './save.ts';
export { Scope, weightsOf, type Points, type TensorSource } from './scope.ts';
export { matches, select, type Select } from './select.ts';
export type { Leaf, Slot, StepOptions } from './shared.ts';
export { finish, startStep, type Step } from './step.ts';
export { blendStreams, joinStreamRows, mapStreams, streamOf, takeStreamRows, update, zipStreams, type Stream, type Streams } from './streams.ts';
export type { TokenKind, TokenMasks } from './tokens.ts';
export { recordPrimal, replayPrimal, type PrimalTrace } from './trace.ts';
export { mapValues, tensorsIn, tidy } from './tree.ts';
export { Dual, dual, liftBilinear, liftElementwise, liftLinear, parts, primal, tangentOf, type Value } from './value.ts';
export type { Variant, View } from './view.ts';
export {
  entriesOf, isLinear, mapParams, materialise, withLowRank, type EmbeddingParams, type LinearParams, type LowRank, type NormParams, type ParameterParams,
  type Params,
} from './weights.ts';
