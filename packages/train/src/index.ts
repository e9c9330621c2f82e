export { activationFiles } from './activation-files.ts';
export { scaleByAdam, type AdamOptions, type Correction } from './adam.ts';
export type { BestOptions } from './best.ts';
export { latestCheckpoint, readCheckpoint, restoreVariables, type Checkpoint, type TrainerState } from './checkpoint.ts';
export { clipFactor, squaredNorm } from './clip.ts';
export {
  CLOCK, composition, METRICS, PLUGIN, pluginOf, registeredPlugins, registerPlugin, servicesOf, STORE, token, type Clock,
} from './container.ts';
export type {
  CheckpointEvent, DoneEvent, EpochEvent, EvaluationEvent, FailedEvent, Place, StartEvent, StepEvent, StoppedEvent, TrainEvent, TrainSummary,
} from './events.ts';
export { fileStore, writeWhole, writeWholeBy } from './file-store.ts';
export { fit, type Run } from './fit.ts';
export { optimiserGroups, type GroupOptions, type Groups } from './groups.ts';
export { NonFiniteError } from './guard.ts';
export { answerLoss, klDivergence, softAccuracy, softmaxCrossEntropy } from './losses.ts';
export { adam, adamW, bertAdam, sgd, vlBertAdamW, type AdamWOptions, type Method, type SgdOptions } from './methods.ts';
export { metricsFile, TIME_FIELDS, type MetricSink } from './metrics.ts';
export { accumulateMomentum } from './momentum.ts';
export { optimiser, type NamedArrays, type Optimiser } from './optimiser.ts';
export type { CheckpointOptions, FitOptions } from './options.ts';
export { isPluginFactory, resolvePlugin, type ResolveOptions } from './plugin-package.ts';
export { schedule, type Schedule, type ScheduleOptions } from './schedule.ts';
export type { Metrics, Task } from './task.ts';
export { scaleByRate, type Change, type Changed, type Transform } from './transform.ts';
export { addDecayedWeights, biasesAndNorms, decayMovedWeights, nothing, type Exempt } from './weight-decay.ts';
