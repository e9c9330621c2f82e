import type { JsonLine } from '@espalier/cli';

/** Runs at most `width` jobs at a time; results in the order of the jobs. */
export async function inTurn<J, R>(all: readonly J[], width: number, run: (job: J) => Promise<R>): Promise<R[]> {
  const results: R[] = [];
  const queue = all.map((job, i) => ({ job, i })).reverse();
  const worker = async () => {
    for (let next = queue.pop(); next; next = queue.pop()) results[next.i] = await run(next.job);
  };
  await Promise.all(Array.from({ length: width }, worker));
  return results;
}

/** A line for an event, at most one in five seconds. */
export function thinned(print: (text: string) => void) {
  let shown = -Infinity;
  return (line: JsonLine) => {
    if (line.type !== 'step' || performance.now() - shown < 5000) return;
    shown = performance.now();
    const number = (key: string) => Number(line[key]);
    print(`step ${number('step')}  loss ${number('loss').toFixed(3)}  ${number('samplesPerSecond').toFixed(0)} questions/s  ${Math.ceil(number('eta'))} s left`);
  };
}
