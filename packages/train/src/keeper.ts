import { CheckpointError, type Adapted, type ParameterPoint } from '@espalier/core';
import * as tf from '@tensorflow/tfjs';
import {
  checkpointOf, latestCheckpoint, pruneCheckpoints, readCheckpoint, removeUnfinished, restoreVariables, writeCheckpoint, type TrainerState,
} from './checkpoint.ts';
import { configurationHash, requireEqual, type Configuration } from './configuration.ts';
import type { Groups } from './groups.ts';
import type { FitSettings } from './options.ts';

/** Keeps what a run must not lose: its state on disk where it has a directory, and the best variables. */
export interface Keeper {
  /** The directory of the last checkpoint written or resumed from. */
  readonly last: string | undefined;
  /** Writes a checkpoint and gives its directory; undefined when the run has no directory or the state is already there. */
  write(state: TrainerState): Promise<string | undefined>;
  /** Remembers the variables as the best; on disk that is `write`'s part. */
  remember(): Promise<void>;
  /** Sets the variables to the best. */
  recall(state: TrainerState): Promise<void>;
}

/** What was found at the start. */
export interface Opened {
  readonly keeper: Keeper;
  readonly state: TrainerState | undefined; // to go on from
  readonly ignored: readonly string[];
}

/** Opens the run's directory, and resumes from it when asked to. @throws CheckpointError for another configuration or an unexpected earlier run. */
export async function openKeeper<I>(adapted: Adapted<I>, groups: Groups, settings: FitSettings, configuration: Configuration): Promise<Opened> {
  const { checkpoint: options, resume, seed } = settings;
  if (!options) return { keeper: memoryKeeper(adapted.trainable), state: undefined, ignored: [] };
  const { directory, keep } = options;
  const { checkpoint, ignored } = await latestCheckpoint(directory);
  if (checkpoint && !resume)
    throw new CheckpointError(`${directory} holds a run's checkpoint (${checkpoint.directory}). Resume it, or give this run a directory of its own.`);
  await removeUnfinished(directory);
  const fingerprint = options.model.fingerprint ?? (await adapted.fingerprint());
  const all = { ...configuration, base: fingerprint };
  const hash = configurationHash(all);
  if (checkpoint) {
    if (checkpoint.hash !== hash) requireEqual(checkpoint.configuration, all, checkpoint.directory);
    groups.load(await readCheckpoint(checkpoint.directory, adapted), `${checkpoint.directory}/trainer.safetensors`);
  }
  const held = { last: checkpoint?.directory, written: checkpoint && mark(checkpoint.state) };
  const keeper: Keeper = {
    get last() {
      return held.last;
    },
    write: async (state) => {
      if (held.written === mark(state)) return undefined;
      const model = { ...options.model, fingerprint };
      held.last = await writeCheckpoint(directory, { adapted, model, optimisers: await groups.save(), seed, configuration: all, hash, state });
      held.written = mark(state);
      await pruneCheckpoints(directory, keep, state);
      return held.last;
    },
    remember: () => Promise.resolve(),
    recall: ({ best }) => (best ? restoreVariables(checkpointOf(directory, best.step), adapted) : Promise.resolve()),
  };
  return { keeper, state: checkpoint?.state, ignored };
}

/** Keeps the best variables in memory and nothing else. */
function memoryKeeper(points: readonly ParameterPoint[]): Keeper {
  const best = new Map<ParameterPoint, Float32Array>();
  return {
    last: undefined,
    write: () => Promise.resolve(undefined),
    remember: async () => {
      for (const p of points) best.set(p, (await p.variable.data<'float32'>()).slice());
    },
    recall: () => {
      for (const [{ variable }, values] of best) tf.tidy(() => variable.assign(tf.tensor(values, variable.shape)));
      return Promise.resolve();
    },
  };
}

/** What distinguishes two states of one run. */
const mark = ({ step, epoch, batch, evaluated }: TrainerState): string => [step, epoch, batch, evaluated].join('/');
