import { tensorsIn, type Learner } from '@espalier/core';
import { dispose } from '@tensorflow/tfjs';
import { clipFactor } from './clip.ts';
import { gathering, type Gathering, type Report } from './gradients.ts';
import type { Groups } from './groups.ts';
import { firstNonFinite, NonFiniteError } from './guard.ts';
import type { FitSettings } from './options.ts';
import type { Task } from './task.ts';

/** One update in the making: batches are learned from one by one, then the variables move once. */
export interface Update<B> {
  readonly batches: number;
  readonly samples: number;
  learn(batch: B): Promise<void>;
  /** Moves the variables by the mean gradient, clipped. @throws NonFiniteError before anything moved. */
  apply(total: number, checkpoint: string | undefined): Promise<Report & { readonly learningRates: Readonly<Record<string, number>> }>;
  dispose(): void;
}

/** The update that makes step `step`. */
export function updateOf<B, I, T>(learner: Learner<I, T>, task: Task<B, I, T>, groups: Groups, settings: FitSettings, step: number): Update<B> {
  const { seed, accumulate, clip } = settings;
  const gathered = gathering();
  const seen = { batches: 0, samples: 0 };
  return {
    get batches() {
      return seen.batches;
    },
    get samples() {
      return seen.samples;
    },
    learn: async (batch) => {
      const held: unknown[] = [];
      try {
        const inputs = task.inputs(batch);
        held.push(inputs);
        const targets = task.targets(batch);
        held.push(targets);
        const samples = task.samples(batch);
        const lesson = await learner.learn(inputs, targets, { seed, step, samples });
        // One batch alone needs no weight: its gradients are used as they are.
        gathered.add(lesson, accumulate === 1 ? 1 : samples.length);
        seen.batches++;
        seen.samples += samples.length;
      } finally {
        dispose(tensorsIn(held));
      }
    },
    apply: async (total, checkpoint) => {
      const report = await gathered.report(groups.apart.map((g) => g.paths));
      await requireFinite(report, gathered, step, checkpoint);
      const apart = new Map(groups.apart.map((g, i) => [g.name, clipFactor(report.norms[i]!, g.clip)]));
      const rest = clipFactor(report.rest, clip);
      const learningRates = groups.update(gathered.gradients, step, total, (name) => (apart.get(name) ?? rest) * gathered.scale);
      return { ...report, learningRates };
    },
    dispose: () => gathered.dispose(),
  };
}

async function requireFinite({ loss, losses, score, norm }: Report, { gradients }: Gathering, step: number, checkpoint: string | undefined): Promise<void> {
  if ([loss, norm, score ?? 0, ...Object.values(losses)].every(Number.isFinite)) return;
  for (const [name, value] of Object.entries(losses)) if (!Number.isFinite(value)) throw new NonFiniteError(step, `the loss '${name}'`, String(value), checkpoint);
  if (!Number.isFinite(loss)) throw new NonFiniteError(step, 'the sum of the losses', String(loss), checkpoint);
  const found = await firstNonFinite(gradients);
  if (found) throw new NonFiniteError(step, `the gradient of '${found.name}'`, found.found, checkpoint);
  if (!Number.isFinite(norm)) throw new NonFiniteError(step, 'the global gradient norm', 'too large for float32, though every gradient is finite', checkpoint);
  throw new NonFiniteError(step, "the task's score", String(score), checkpoint);
}
