import type { JsonLine } from '@espalier/cli';

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
