import { spawn } from 'node:child_process';
import { adapt } from '@espalier/core';
import { adamW, optimiserGroups } from '@espalier/train';
import { tune } from '@espalier/tune';
import * as tf from '@tensorflow/tfjs';
import { z } from 'zod';
import { median } from '../paired.ts';
import { enter, onnx } from './backends.ts';
import { batchOf, learnerOf, modelOf } from './lxmert.ts';
import type { Finding, Row, Settings } from './settings.ts';

const MODES = ['lazy', 'captured'] as const;
export type MemoryMode = (typeof MODES)[number];
export const isMemoryMode = (x: string): x is MemoryMode => MODES.some((m) => m === x);

const LENGTHS = 16;
const COLLECTION = 50;
const Report = z.strictObject({ megabytes: z.array(z.number()), compiled: z.number() });

export const memory: Row = {
  name: 'memory',
  about: `resident memory of training LXMERT-tiny (all parameters, AdamW, batch 8) over ${LENGTHS} lengths of question in turn, with garbage collected every ${COLLECTION} steps and left to V8; --rounds is the number of steps`,
  backends: ['onnx'],
  measure: async (settings) => {
    const findings: Finding[] = [];
    for (const [mode, collected] of MODES.flatMap((m) => [[m, true], [m, false]] as const)) {
      const { megabytes, compiled } = Report.parse(JSON.parse(await child(mode, settings, collected)));
      const quarter = (i: number) => median(megabytes.slice((i * megabytes.length) / 4, ((i + 1) * megabytes.length) / 4));
      const quarters = [0, 1, 2, 3].map(quarter);
      findings.push({
        what: `${mode}${collected ? '' : ', left to V8'}: fourth quarter / second`, value: quarters[3]! / quarters[1]!, unit: 'ratio', rounds: megabytes.length,
        // V8 leaves garbage that outlived its nursery for thousands of such small steps, then memory falls back.
        ...(collected && { goal: { atMost: 1.05 } }),
        detail: `medians of the quarters ${quarters.map((q) => q.toFixed(0)).join(', ')} MB; ${compiled} graphs compiled`,
      });
    }
    return findings;
  },
};

/** Trains and prints a `Report`: resident memory after every step. */
export async function memoryChild(mode: MemoryMode, settings: Settings): Promise<void> {
  const place = onnx(settings);
  await enter(place);
  const { rounds: steps = 2000 } = settings;
  const sizes = { size: 'tiny', batch: 8, regions: 16 } as const;
  const model = modelOf({ ...sizes, words: 0 });
  const adapted = adapt(model, [tune({ preset: 'all' }), tune({ preset: 'head' }, { as: 'head' })]);
  const groups = optimiserGroups(adapted.trainable, { default: { method: adamW(), rate: 1e-4 } });
  const learner = learnerOf(adapted, mode === 'captured');
  const samples = Array.from({ length: sizes.batch }, (_, i) => String(i));
  const megabytes: number[] = [];
  for (let step = 1; step <= steps; step++) {
    // 5 is coprime to 16: all lengths in turn, never one after its neighbour.
    const { inputs, targets } = batchOf(model, { ...sizes, words: 3 + 2 * ((5 * step) % LENGTHS) });
    const lesson = await learner.learn(inputs, targets, { seed: 0, step, samples });
    await lesson.scalars.data();
    groups.update(lesson.gradients, step, steps, () => 1);
    lesson.dispose();
    targets.dispose();
    tf.dispose(inputs as tf.TensorContainer);
    if (step % COLLECTION === 0) globalThis.gc?.(); // where the process was started with it
    megabytes.push(process.memoryUsage.rss() / 1e6);
    await new Promise(setImmediate); // as `fit` does: what waits for its turn gets it
  }
  console.log(JSON.stringify({ megabytes, compiled: place.onnx!.statistics().compiled } satisfies z.infer<typeof Report>));
}

/** What a process of its own prints. */
function child(mode: MemoryMode, { threads, rounds }: Settings, collected: boolean): Promise<string> {
  const args = ['engine', '--only', 'memory', '--child', mode, '--threads', String(threads), ...(rounds === undefined ? [] : ['--rounds', String(rounds)])];
  return new Promise((resolve, reject) => {
    const running = spawn(process.execPath, [...(collected ? ['--expose-gc'] : []), process.argv[1]!, ...args], { stdio: ['ignore', 'pipe', 'inherit'] });
    let printed = '';
    running.stdout.setEncoding('utf8').on('data', (text: string) => (printed += text));
    running.on('error', reject);
    running.on('close', (code) => (code === 0 ? resolve(printed) : reject(new Error(`the child process for '${mode}' ended with ${code}`))));
  });
}
