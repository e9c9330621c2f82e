import { createRequire } from 'node:module';
import type { Adapted, CacheStatistics } from '@espalier/core';
import * as tf from '@tensorflow/tfjs';
import { z } from 'zod';
import type { Flops } from './flops.ts';
import type { Share } from './scoring.ts';

/** What ran. */
export interface Versions {
  readonly espalier: string;
  readonly node: string;
  readonly tfjs: string;
  readonly plugins: Readonly<Record<string, string>>;
}

/** The result of a training. */
export interface Summary {
  readonly type: 'summary';
  readonly split: 'test' | 'validation'; // what `accuracy` was measured on: validation where there are no answered test questions
  readonly accuracy: number; // mean soft score
  readonly loss: number;
  readonly validationAccuracy: number;
  readonly byAnswerType: Readonly<Record<string, Share>>;
  readonly byQuestionType: Readonly<Record<string, Share>>;
  readonly questions: number; // scored
  readonly trainQuestions: number;
  readonly skipped: number; // records that could not be used
  readonly cut: number; // scored questions that were cut to the limit of word pieces
  readonly trainableParameters: number;
  readonly totalParameters: number;
  readonly bytes: number; // of the saved model, without the backbone
  readonly steps: number;
  readonly epochs: number;
  readonly bestEpoch: number | undefined;
  readonly seconds: number; // of training, validation included
  readonly scoringSeconds: number;
  readonly samplesPerSecond: number; // in training steps
  readonly peakMemory: number; // bytes, of the process
  readonly flopsPerSample: number; // forward, two per multiply-add
  readonly flopsByPlugin: Readonly<Record<string, number>>;
  readonly flops: Flops; // expected and spent, by plugin and block
  readonly measured: Readonly<Record<string, number>>; // 'INSTANCE NAME' of the plugins' measures: means over the same samples and all that is measured
  readonly backbone: string;
  readonly weights: string; // 'none' when drawn from the seed
  readonly plugins: readonly string[]; // instances
  readonly data: string;
  readonly backend: string;
  readonly captured: boolean; // training steps were recorded once and replayed
  readonly cached?: CacheStatistics; // with --cache: in how many steps the frozen part was read, or computed, or why it cannot be kept
  readonly captureRefused?: string; // why not, where the backend can record
  readonly seed: number;
  readonly out: string;
  readonly versions: Versions;
}

/** The version of this package. */
export function cliVersion(): string {
  const read: unknown = createRequire(import.meta.url)('../package.json');
  return z.looseObject({ version: z.string() }).parse(read).version;
}

/** The versions of everything that determines a result. */
export const versionsOf = (adapted: Pick<Adapted<unknown>, 'plugins'>): Versions => ({
  espalier: cliVersion(),
  node: process.versions.node,
  tfjs: tf.version_core,
  plugins: Object.fromEntries(adapted.plugins.map((p) => [p.name, p.version])),
});

/** Largest resident memory of this process so far, in bytes. */
export const peakMemory = (): number => process.resourceUsage().maxRSS * 1024;
