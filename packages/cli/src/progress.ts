import { SingleBar } from 'cli-progress';
import type { EvaluationEvent, StepEvent } from '@espalier/train';
import { printJson, type Console } from './console.ts';
import type { RunEvent } from './run-events.ts';

/** Shows a training's events to whoever waits for it. */
export interface Progress {
  show(event: RunEvent): void;
  end(): void;
}

export interface ProgressOptions {
  readonly json: boolean;
  readonly verbose?: boolean;
  readonly now?: () => number; // milliseconds
}

/** JSON lines on stdout; else a bar on a terminal; else plain lines every few seconds. */
export function progressFor(to: Console, { json, verbose = false, now = () => performance.now() }: ProgressOptions): Progress {
  if (json) return jsonProgress(to, verbose, now);
  return to.bar ? barProgress(to, to.bar) : lineProgress(to, now);
}

const BETWEEN_LINES = 5000;
const BETWEEN_OBJECTS = 1000;

/** A gate that opens at most once in so many milliseconds, and at first. */
function gate(milliseconds: number, now: () => number): () => boolean {
  let last = -Infinity;
  return () => {
    if (now() - last < milliseconds) return false;
    last = now();
    return true;
  };
}

function jsonProgress(to: Console, verbose: boolean, now: () => number): Progress {
  const [step, scoring] = [gate(BETWEEN_OBJECTS, now), gate(BETWEEN_OBJECTS, now)];
  return {
    show: (event) => {
      if (event.type === 'note') to.err(`${event.text}\n`);
      else if (event.type === 'failed') printJson(to, { ...event, error: event.error.message });
      else if (event.type === 'done') return; // the summary says it all
      else if (event.type === 'step' ? verbose || step() : event.type !== 'scoring' || verbose || scoring()) printJson(to, event);
    },
    end: () => {},
  };
}

function lineProgress(to: Console, now: () => number): Progress {
  const open = gate(BETWEEN_LINES, now);
  let steps = 0;
  return {
    show: (event) => {
      if (event.type === 'start') steps = event.steps;
      if (event.type === 'step' && (open() || event.step === steps)) to.err(`step ${event.step} of ${steps}  ${describeStep(event)}\n`);
      if (event.type === 'scoring' && open()) to.err(`${describeScoring(event)}\n`);
      announce(to, event);
    },
    end: () => {},
  };
}

function barProgress(to: Console, stream: NodeJS.WriteStream): Progress {
  const bar = new SingleBar({ format: '[{bar}] {value}/{total}  {text}', stream, barsize: 24, hideCursor: true, clearOnComplete: true, stopOnComplete: false });
  const held = { running: false, steps: 0, step: 0, text: '' };
  const stop = () => {
    if (held.running) bar.stop();
    held.running = false;
  };
  const draw = (value: number, total: number, text: string) => {
    if (held.running) bar.setTotal(total);
    else bar.start(total, value, { text });
    held.running = true;
    bar.update(value, { text });
  };
  return {
    show: (event) => {
      if (event.type === 'start') Object.assign(held, { steps: event.steps, step: event.step });
      if (event.type === 'step') draw(event.step, held.steps, describeStep(event));
      else if (event.type === 'scoring') draw(event.done, event.of, `scoring ${event.split}`);
      else {
        stop(); // so that the line is not drawn over
        announce(to, event);
      }
    },
    end: stop,
  };
}

const describeStep = (e: StepEvent) =>
  [`loss ${e.loss.toFixed(4)}`, ...(e.accuracy === undefined ? [] : [`accuracy ${(100 * e.accuracy).toFixed(1)} %`]), `${e.samplesPerSecond.toFixed(0)} samples/s`, `${duration(e.eta)} left`].join('  ');

const describeScoring = (e: Extract<RunEvent, { type: 'scoring' }>) => `scoring ${e.split}: ${e.done} of ${e.of}`;

const describeEvaluation = ({ epoch, metrics, best }: EvaluationEvent) =>
  `epoch ${epoch}: validation ${Object.entries(metrics).map(([name, x]) => `${name} ${name.startsWith('accuracy') ? `${(100 * x).toFixed(2)} %` : x.toFixed(4)}`).join(', ')}${best ? ' (best so far)' : ''}`;

/** Lines for what is not progress. */
function announce(to: Console, event: RunEvent): void {
  if (event.type === 'note') to.err(`${event.text}\n`);
  if (event.type === 'start' && event.resumed !== undefined) to.err(`resumed from ${event.resumed} at step ${event.step} of ${event.steps}\n`);
  if (event.type === 'evaluation') to.err(`${describeEvaluation(event)}\n`);
}

/** 75 -> '1:15'; 4000 -> '1:06:40'. */
export function duration(seconds: number): string {
  const s = Math.max(0, Math.ceil(seconds));
  const two = (n: number) => String(n).padStart(2, '0');
  return s < 3600 ? `${Math.floor(s / 60)}:${two(s % 60)}` : `${Math.floor(s / 3600)}:${two(Math.floor((s % 3600) / 60))}:${two(s % 60)}`;
}
