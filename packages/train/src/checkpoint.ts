import { mkdir, readdir, rename, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { CheckpointError, readSafetensors, restore, save, writeSafetensors, type Adapted, type SaveOptions } from '@espalier/core';
import { z } from 'zod';
import { BestState } from './best.ts';
import { fileStore, isCode, readIfThere, syncDirectory, writeWhole } from './file-store.ts';
import type { NamedArrays } from './optimiser.ts';

const count = z.int().nonnegative();

/** Where a run stands, with all that its next step depends on besides variables and optimiser state. */
export const TrainerState = z.strictObject({
  step: count, // updates done
  epoch: z.int().positive(), // the epoch that the next batch belongs to
  batch: count, // batches of it done
  evaluated: count, // the step of the last evaluation; 0 for none
  samples: count, // seen so far
  seconds: z.number().nonnegative(), // since the start, pauses left out
  busy: z.number().nonnegative(), // of these, spent in steps
  records: count, // metrics written so far
  lastLoss: z.number().optional(),
  running: z.strictObject({ weight: count, loss: z.number(), score: z.number().optional() }), // sums over the epoch so far
  best: BestState.optional(),
});
export type TrainerState = z.infer<typeof TrainerState>;

const TrainerFile = z.strictObject({
  format: z.literal(1),
  seed: z.int(),
  configuration: z.record(z.string(), z.unknown()),
  hash: z.string(), // of the configuration
  state: TrainerState,
  files: z.record(z.string(), count), // sizes of the other files in bytes: the directory is whole when they agree
});
type TrainerFile = z.infer<typeof TrainerFile>;

/** What a checkpoint is made from. */
export interface Snapshot<I> {
  readonly adapted: Adapted<I>;
  readonly model: SaveOptions;
  readonly optimisers: NamedArrays;
  readonly seed: number;
  readonly configuration: Readonly<Record<string, unknown>>;
  readonly hash: string;
  readonly state: TrainerState;
}

/** A whole checkpoint on disk. */
export interface Checkpoint extends Omit<TrainerFile, 'format' | 'files'> {
  readonly directory: string;
}

const TRAINER = 'trainer.json';
const OPTIMISERS = 'trainer.safetensors';
const NAME = /^step-(\d{8,})$/;

/** The directory of a step's checkpoint. */
export const checkpointOf = (directory: string, step: number): string => join(directory, `step-${String(step).padStart(8, '0')}`);

/**
 * Writes `step-00000100/`: the model as core saves it, `trainer.safetensors` (optimiser state) and `trainer.json`. It is
 * made under a `tmp-` name and renamed, so at any moment it is whole or not there.
 */
export async function writeCheckpoint<I>(directory: string, snapshot: Snapshot<I>): Promise<string> {
  const { adapted, model, optimisers, seed, configuration, hash, state } = snapshot;
  const final = checkpointOf(directory, state.step);
  const trainer = (files: Readonly<Record<string, number>>) => {
    const file: TrainerFile = { format: 1, seed, configuration, hash, state, files };
    return new TextEncoder().encode(`${JSON.stringify(file, null, 1)}\n`);
  };
  const there = await inspect(final);
  if ('file' in there) {
    // The same step of the same run again, after its evaluation: variables and optimiser state are what they were.
    await writeWhole(join(final, TRAINER), trainer(there.file.files));
    return final;
  }
  const temporary = join(directory, `tmp-${process.pid}-${state.step}`);
  await rm(temporary, { recursive: true, force: true });
  await mkdir(temporary, { recursive: true });
  const sizes: Record<string, number> = {};
  const store = fileStore(temporary);
  const counted = {
    read: store.read,
    write: async (name: string, bytes: Uint8Array) => {
      await store.write(name, bytes);
      sizes[name] = bytes.byteLength;
    },
  };
  await save(adapted, counted, model);
  await counted.write(OPTIMISERS, writeSafetensors(optimisers));
  await store.write(TRAINER, trainer(sizes));
  await rm(final, { recursive: true, force: true }); // what is there is not whole
  await rename(temporary, final);
  await syncDirectory(directory);
  return final;
}

/** The whole checkpoint of the highest step, and why others of higher steps are passed over. */
export async function latestCheckpoint(directory: string): Promise<{ checkpoint: Checkpoint | undefined; ignored: readonly string[] }> {
  const ignored: string[] = [];
  for (const step of (await stepsIn(directory)).reverse()) {
    const at = checkpointOf(directory, step);
    const found = await inspect(at);
    if ('file' in found) {
      const { seed, configuration, hash, state } = found.file;
      return { checkpoint: { directory: at, seed, configuration, hash, state }, ignored };
    }
    ignored.push(`${at}: ${found.reason}`);
  }
  return { checkpoint: undefined, ignored };
}

/** Sets variables from a checkpoint and gives its optimiser state. @throws CheckpointError naming file and tensor. */
export async function readCheckpoint<I>(directory: string, adapted: Adapted<I>): Promise<NamedArrays> {
  const file = join(directory, OPTIMISERS);
  const bytes = await readIfThere(file);
  if (!bytes) throw new CheckpointError(`${file} is missing`);
  const { tensors } = readSafetensors(bytes, file);
  await restoreVariables(directory, adapted);
  return tensors;
}

/** Sets variables alone from a checkpoint. */
export async function restoreVariables<I>(directory: string, adapted: Adapted<I>): Promise<void> {
  try {
    await restore(adapted, fileStore(directory));
  } catch (e) {
    throw e instanceof CheckpointError ? new CheckpointError(`${directory}: ${e.message}`, { cause: e }) : e;
  }
}

/** Removes checkpoints up to the run's step but for the last `keep` and that of the best evaluation. */
export async function pruneCheckpoints(directory: string, keep: number, { step: now, best }: Pick<TrainerState, 'step' | 'best'>): Promise<void> {
  const steps = (await stepsIn(directory)).filter((step) => step <= now);
  for (const step of steps.slice(0, Math.max(0, steps.length - keep)))
    if (step !== best?.step) await rm(checkpointOf(directory, step), { recursive: true, force: true });
}

/** Removes what an ended process left half written. */
export async function removeUnfinished(directory: string): Promise<void> {
  for (const name of await namesIn(directory)) if (/^tmp-\d+-\d+$/.test(name)) await rm(join(directory, name), { recursive: true, force: true });
}

async function inspect(directory: string): Promise<{ file: TrainerFile } | { reason: string }> {
  const bytes = await readIfThere(join(directory, TRAINER));
  if (!bytes) return { reason: `${TRAINER} is missing` };
  let json: unknown;
  try {
    json = JSON.parse(new TextDecoder().decode(bytes));
  } catch (e) {
    return { reason: `${TRAINER} is not JSON (${e instanceof Error ? e.message : String(e)})` };
  }
  const parsed = TrainerFile.safeParse(json);
  if (!parsed.success) return { reason: `${TRAINER}: ${parsed.error.issues.map((i) => `${i.path.join('.')}: ${i.message}`).join('; ')}` };
  for (const [name, size] of Object.entries(parsed.data.files)) {
    const found = await sizeOf(join(directory, name));
    if (found !== size) return { reason: found === undefined ? `${name} is missing` : `${name} has ${found} bytes of ${size}` };
  }
  return { file: parsed.data };
}

async function stepsIn(directory: string): Promise<number[]> {
  const names = await namesIn(directory);
  return names.flatMap((name) => NAME.exec(name)?.[1] ?? []).map(Number).sort((a, b) => a - b);
}

async function namesIn(directory: string): Promise<string[]> {
  try {
    return await readdir(directory);
  } catch (e) {
    if (isCode(e, 'ENOENT')) return [];
    throw e;
  }
}

async function sizeOf(path: string): Promise<number | undefined> {
  try {
    return (await stat(path)).size;
  } catch (e) {
    if (isCode(e, 'ENOENT', 'ENOTDIR')) return undefined;
    throw e;
  }
}
