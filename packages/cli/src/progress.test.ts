import { describe, expect, it } from 'vitest';
import type { StepEvent } from '@espalier/train';
import { capturedConsole } from './captured-console.ts';
import { duration, progressFor } from './progress.ts';

const step = (n: number): StepEvent => ({
  type: 'step', step: n, epoch: 1, loss: 1 / n, losses: { task: 1 / n }, accuracy: 0.5, gradientNorm: 1, learningRates: { default: 1e-3 }, samplesPerSecond: 40, eta: 75,
});
const start = { type: 'start', step: 0, epoch: 1, steps: 100, epochs: 1, stepsPerEpoch: 100, resumed: undefined, ignored: [] } as const;

/** A progress under a clock of half a second per event. */
function shown(options: { json: boolean; verbose?: boolean }, steps: number) {
  const to = capturedConsole();
  let time = 0;
  const progress = progressFor(to, { ...options, now: () => time });
  progress.show(start);
  progress.show({ type: 'note', text: 'a note' });
  for (let n = 1; n <= steps; n++, time += 500) progress.show(step(n));
  progress.show({ type: 'evaluation', step: steps, epoch: 1, metrics: { accuracy: 0.25, loss: 2 }, best: true });
  progress.show({ type: 'failed', step: steps, epoch: 1, error: new Error('out of paper') });
  progress.end();
  return to;
}

describe('progress', () => {
  it('with --json is an object per event on stdout, steps thinned to one a second', () => {
    const to = shown({ json: true }, 5);
    expect(to.objects()).toMatchObject([{ type: 'start' }, { type: 'step', step: 1 }, { type: 'step', step: 3 }, { type: 'step', step: 5 }, { type: 'evaluation' }, { type: 'failed', error: 'out of paper' }]);
    expect(to.printed.err).toBe('a note\n');
    expect(shown({ json: true, verbose: true }, 5).objects()).toHaveLength(8);
  });

  it('without a terminal is a line every few seconds and the last step, on stderr', () => {
    const { printed } = shown({ json: false }, 100);
    expect(printed.out).toBe('');
    const lines = printed.err.trim().split('\n');
    expect(lines[0]).toBe('a note');
    expect(lines.filter((line) => line.startsWith('step')).map((line) => Number(/step (\d+) of 100/.exec(line)?.[1]))).toEqual([1, 11, 21, 31, 41, 51, 61, 71, 81, 91, 100]);
    expect(lines[1]).toBe('step 1 of 100  loss 1.0000  accuracy 50.0 %  40 samples/s  1:15 left');
    expect(lines.at(-1)).toBe('epoch 1: validation accuracy 25.00 %, loss 2.0000 (best so far)');
  });

  it('tells durations as people do', () => {
    expect([0, 5.2, 75, 3600, 4000].map(duration)).toEqual(['0:00', '0:06', '1:15', '1:00:00', '1:06:40']);
  });
});
