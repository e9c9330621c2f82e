import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { join, resolve } from 'node:path';
import type { PrivateTraining } from '@espalier/core';
import { selectBackend } from '@espalier/core/backend';
import { batches, type VqaRecord } from '@espalier/data';
import {
  fit, holdDirectory, METRICS, metricsFile, servicesOf, softAccuracy, writeWhole, type FitOptions, type Metrics, type Task,
  type TrainSummary,
} from '@espalier/train';
import type { VqaExamples } from '@espalier/vl-models';
import * as tf from '@tensorflow/tfjs';
import type { z } from 'zod';
import { activationCache } from './activation-cache.ts';
import { compose, type Composition } from './compose.ts';
import { Interrupted, UsageError } from './errors.ts';
import { parseSettings } from './flags.ts';
import { COUNTED, flopsOn, type Flops } from './flops.ts';
import { checkGroups, groupOptions } from './groups.ts';
import { saveModel, saveOptionsOf } from './model-directory.ts';
import { lossNamed } from './loss.ts';
import { privately, privateTraining } from './private-task.ts';
import { countParameters } from './parameters.ts';
import { measureMeans, measureRecords } from './pictures/measures.ts';
import { compositionRoot, type Container } from './plugins.ts';
import type { RunEvent } from './run-events.ts';
import { scoreRecords, type Score } from './scoring.ts';
import { TrainSettings, type TrainOptions } from './settings.ts';
import { peakMemory, versionsOf, type Summary } from './summary.ts';

export interface RunOptions {
  readonly onEvent?: (event: RunEvent) => void;
  /** Aborting it ends the run after the current step, with a checkpoint. */
  readonly signal?: AbortSignal;
  /** Where plugins are resolved; give one of your own to register plugins that are no packages. */
  readonly container?: Container;
}

type Settings = z.output<typeof TrainSettings>;

/**
 * Trains a model as `espalier train` does and scores the test split once: selects the backend, composes backbone, data
 * and plugins, fits, saves model, `metrics.jsonl`, `summary.json` and checkpoints in `out`.
 * @throws UsageError for wrong options or an `out` that holds another run, Interrupted when stopped by the signal,
 * EspalierError for data, weights or plugins that do not fit.
 */
export async function runTraining(options: TrainOptions = {}, { onEvent = () => {}, signal, container = compositionRoot() }: RunOptions = {}): Promise<Summary> {
  const settings = parseSettings(TrainSettings, options);
  const out = settings.out ?? join('out', `train-${new Date().toISOString().slice(0, 19).replaceAll(':', '-')}`);
  refuseOtherRun(out, settings.resume);
  checkGroups(settings);
  const loss = lossNamed(settings.loss);
  const backend = await selectBackend(settings.backend, { threads: settings.threads });
  const composition = await compose(container, settings, { note: (text) => onEvent({ type: 'note', text }), signal });
  try {
    return await train({ settings, loss, out, backend: backend.name, composition, container, onEvent, signal });
  } finally {
    composition.dispose();
  }
}

interface Job {
  readonly settings: Settings;
  readonly loss: Task<VqaExamples, unknown>['loss'];
  readonly out: string;
  readonly backend: string;
  readonly composition: Composition;
  readonly container: Container;
  readonly onEvent: (event: RunEvent) => void;
  readonly signal: AbortSignal | undefined;
}

async function train(job: Job): Promise<Summary> {
  const { settings, out, composition: c, onEvent } = job;
  const note = (text: string) => onEvent({ type: 'note', text });
  c.notes.forEach(note);
  const { privacy, batchSize, epochs } = settings;
  const training = privacy === undefined ? undefined : privateTraining(c.adapted, { privacy, samples: c.train.length, batchSize, epochs });
  for (const option of ['flip', 'cache'] as const) if (training && settings[option]) throw new UsageError(`--${option} is not made for --privacy: leave one out`);
  const parameters = countParameters(c.adapted);
  const counted = c.test ?? c.validation;
  const before = await flopsOn({ ...c, batchSize: settings.batchSize }, counted, settings.batchSize);
  note(`${c.train.length} training, ${c.validation.length} validation and ${c.test?.length ?? 0} test questions, ${c.data.answers.length} answers`);
  note(`${parameters.trainable.toLocaleString('en')} of ${parameters.total.toLocaleString('en')} parameters are trained; ${(before.total / 1e6).toFixed(1)} MFLOPs per sample and forward pass`);
  const letGo = await holdDirectory(out);
  try {
    return await trainHeld(job, training, counted);
  } finally {
    await letGo();
  }
}

/** The training itself, in a directory that no other process works in. */
async function trainHeld(job: Job, training: PrivateTraining<unknown> | undefined, counted: readonly VqaRecord[]): Promise<Summary> {
  const { settings, out, composition: c, container, onEvent, signal } = job;
  const note = (text: string) => onEvent({ type: 'note', text });
  const fingerprint = await c.adapted.fingerprint();
  const model = saveOptionsOf(c, settings, fingerprint);
  const services = container.createChildContainer();
  services.register(METRICS, { useValue: metricsFile(join(out, 'metrics.jsonl')) });
  const task = training ? privately(taskOf(job), training, c.train, { data: c.data, tokenizer: c.tokens }) : taskOf(job);
  const run = fit(c.adapted, task, {
    ...fitOptionsOf(job), ...servicesOf(services),
    checkpoint: { directory: join(out, 'checkpoints'), every: settings.checkpointEvery, model },
    ...(signal && { signal }),
  });
  run.events.subscribe((event) => {
    onEvent(event);
    if (event.type === 'start' && settings.resume && event.resumed === undefined) note(`${out} holds no whole checkpoint: the run begins anew`);
    if (event.type === 'start') event.ignored.forEach(note);
  });
  const fitted = await run.done;
  if (fitted.stopped) throw new Interrupted(`stopped after step ${fitted.step}, whose checkpoint is ${fitted.checkpoint}. Go on with the same options and --out ${out} --resume.`);
  const statement = training?.statement(fitted.step);
  if (statement) note(`differentially private: epsilon ${Number(statement['epsilon']).toPrecision(4)}, delta ${String(statement['delta'])}, ${String(statement['adjacency'])}`);
  const bytes = await saveModel(out, c, statement ? saveOptionsOf(c, settings, fingerprint, statement) : model);
  const began = performance.now();
  const test = c.test && (await score(job, 'test', c.test));
  const validation = fitted.best ?? undefined;
  const final = test ?? (await score(job, 'validation', c.validation));
  const flops = await flopsOn({ ...c, batchSize: settings.batchSize }, counted);
  const measured = measureMeans((await measureRecords({ ...c, batchSize: settings.batchSize }, counted.slice(0, COUNTED))) ?? []);
  const summary = summaryOf(job, { fitted, final, test, validationAccuracy: validation?.value, flops, measured, bytes, scoringSeconds: (performance.now() - began) / 1000 });
  await writeWhole(join(out, 'summary.json'), new TextEncoder().encode(`${JSON.stringify(summary, null, 1)}\n`));
  return summary;
}

/** @throws UsageError when the directory holds a run and it is not to be resumed. */
function refuseOtherRun(out: string, resume: boolean): void {
  const found = ['summary.json', 'manifest.json', 'checkpoints', 'metrics.jsonl'].filter((name) => existsSync(join(out, name)));
  if (found.length && !resume) throw new UsageError(`--out ${out} holds a run already (${found.join(', ')}). Go on with it by --resume and the options it was begun with, or give this run a directory of its own.`);
}

/** The learning problem as `fit` sees it. */
function taskOf(job: Job): Task<VqaExamples, unknown> {
  const { composition: c, settings: { batchSize, seed, flip } } = job;
  return {
    batches: (epoch, start) => batches(c.train, { data: c.data, tokenizer: c.tokens, batchSize, start, shuffle: { seed, epoch }, ...(flip && { flip: { seed, epoch } }) }),
    batchesPerEpoch: Math.ceil(c.train.length / batchSize),
    inputs: (batch) => c.model.inputs(batch),
    targets: (batch) => tf.tensor2d(batch.targets, [batch.ids.length, batch.answers]),
    samples: (batch) => batch.ids,
    loss: job.loss,
    score: softAccuracy,
    validate: async (_, signal) => {
      const found = await scored(job, 'validation', c.validation, signal);
      return found && metricsOf(found);
    },
  };
}

const metricsOf = ({ accuracy, loss, byAnswerType }: Score): Metrics => ({
  accuracy, loss, ...Object.fromEntries(Object.entries(byAnswerType).map(([name, share]) => [`accuracy ${name}`, share.accuracy])),
});

function fitOptionsOf({ settings, backend, composition: c }: Job): Omit<FitOptions, 'checkpoint'> {
  const { clip, epochs, seed, accumulate, recompute, patience, resume, batchSize, dataSeed, limitTrain, limitEval, head, flip, start, loss, privacy } = settings;
  const cache = activationCache(settings);
  return {
    optimisers: groupOptions(c.adapted, settings),
    epochs, seed, accumulate, recompute, resume, ...(cache && { cache }),
    clip: clip === 'none' ? Infinity : clip,
    best: { metric: 'accuracy', ...(patience !== undefined && { patience }) },
    configuration: {
      backend, batchSize, dataSeed, limitTrain, limitEval, ...(head !== undefined && { head }), ...(flip && { flip }), ...(start !== undefined && { start: resolve(start) }),
      ...(loss !== 'bce' && { loss }), ...(privacy !== undefined && { privacy }), ...(c.shard && { shard: c.shard }),
      data: c.dataSpec, features: c.features, trainQuestions: c.train.length,
      vocabulary: createHash('sha256').update(c.vocabulary).digest('hex'),
    },
  };
}

function scored({ composition: c, settings: { batchSize }, onEvent }: Job, split: string, records: readonly VqaRecord[], signal: AbortSignal | undefined): Promise<Score | undefined> {
  return scoreRecords({ ...c, batchSize }, records, { signal, onBatch: (done, of) => onEvent({ type: 'scoring', split, done, of }) });
}

/** As `scored`, where a stop ends the run. */
async function score(job: Job, split: string, records: readonly VqaRecord[]): Promise<Score> {
  const found = await scored(job, split, records, job.signal);
  if (!found) throw new Interrupted(`stopped while scoring the ${split} split; training is finished and saved. Score it with the same options and --out ${job.out} --resume.`);
  return found;
}

interface Outcome {
  readonly fitted: TrainSummary;
  readonly final: Score;
  readonly test: Score | undefined;
  readonly validationAccuracy: number | undefined;
  readonly flops: Flops;
  readonly measured: Readonly<Record<string, number>>;
  readonly bytes: number;
  readonly scoringSeconds: number;
}

function summaryOf({ settings, out, backend, composition: c }: Job, { fitted, final, test, validationAccuracy, flops, measured, bytes, scoringSeconds }: Outcome): Summary {
  const { trainable, total } = countParameters(c.adapted);
  const { accuracy, loss, byAnswerType, byQuestionType, questions, cut } = final;
  return {
    type: 'summary',
    split: test ? 'test' : 'validation',
    accuracy, loss, validationAccuracy: validationAccuracy ?? accuracy, byAnswerType, byQuestionType, questions,
    trainQuestions: c.train.length,
    skipped: c.data.report().reduce((sum, f) => sum + (f.kept ? 0 : f.count), 0),
    cut,
    trainableParameters: trainable, totalParameters: total, bytes,
    steps: fitted.step, epochs: fitted.epoch, bestEpoch: fitted.best?.epoch,
    seconds: fitted.seconds, scoringSeconds, samplesPerSecond: fitted.samplesPerSecond, peakMemory: peakMemory(),
    captured: fitted.captured, ...(fitted.captureRefused !== undefined && { captureRefused: fitted.captureRefused }), ...(fitted.cached && { cached: fitted.cached }),
    flopsPerSample: flops.total, flopsByPlugin: flops.byPlugin, flops, measured,
    backbone: c.kind.name, weights: c.weights ?? 'none', plugins: c.adapted.plugins.map((p) => p.instance), data: c.dataSpec,
    backend, seed: settings.seed, out, versions: versionsOf(c.adapted),
  };
}
