import { takeStreamRows, type Streams, type Way } from '@espalier/core';
import type { Branches } from './branches.ts';
import type { Unit } from './units.ts';

/**
 * The ways of a unit through which its rows may go, with their probabilities [R] from those of its gates, row by row [R W]:
 * open with all p, closed with all 1 - p, and where heads disagree, both.
 */
export function waysOf({ width }: Unit, probabilities: ArrayLike<number>, streams: Streams, { on, off }: Branches): Way[] {
  const rows = probabilities.length / width;
  const all = (of: (p: number) => number) =>
    Float64Array.from({ length: rows }, (_, b) => Array.from({ length: width }, (_, w) => of(probabilities[b * width + w]!)).reduce((q, x) => q * x, 1));
  const [open, closed] = [all((p) => p), all((p) => 1 - p)];
  const first = () => takeStreamRows(streams, [0]);
  const ways: Way[] = [
    { probabilities: open, run: () => on(first(), [0]) },
    { probabilities: closed, run: () => off(first(), [0]) },
  ];
  if (width === 1) return ways;
  const both = open.map((p, b) => 1 - p - closed[b]!);
  return [...ways, { probabilities: both, run: () => [on(first(), [0]), off(first(), [0])] }];
}
