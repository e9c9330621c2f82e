import { add, FROZEN, kaiming, matMul, normal, scale, zeros, type Host, type Initializer, type Step, type Value } from '@espalier/core';
import type { Settings } from './options.ts';

/** A linear map of rows, [N, d] -> [N, d]; undefined is zero. */
export type RowMap = (x: Value, step: Step) => Value;

export const identity: Initializer = ([rows, columns]) => Float32Array.from({ length: rows! * columns! }, (_, i) => (Math.floor(i / columns!) === i % columns! ? 1 : 0));

/** x K, drawn, trained or frozen. */
export function dense(host: Pick<Host, 'variable'>, path: string, width: number, start: Initializer, group?: string): RowMap {
  const kernel = host.variable(path, [width, width], start, group);
  return (x, step) => matMul(x, step.read(kernel));
}

/** by (x D) U of rank r; U starts at zero. */
export function lowRank(host: Pick<Host, 'variable'>, path: string, width: number, rank: number, by: number): RowMap {
  const down = host.variable(`${path}.down`, [width, rank], kaiming);
  const up = host.variable(`${path}.up`, [rank, width], zeros);
  return (x, step) => scale(matMul(matMul(x, step.read(down)), step.read(up)), by);
}

/** The map A or B of one block, named `path`. In safe starts A is the identity and B zero. */
export function mapOf(host: Pick<Host, 'variable'>, path: string, part: 'a' | 'b', width: number, settings: Settings): RowMap {
  const { feedback, init, bases, freezeA, rank, scale: by } = settings;
  const start = init === 'paper' ? normal(0.02) : part === 'a' ? identity : zeros;
  const name = `${path}.${part}`;
  const frozen = part === 'a' && freezeA;
  if (feedback === 'full' && !frozen) return dense(host, name, width, start);
  // A base that is the identity or zero is neither kept nor computed.
  const base = bases && (feedback === 'lite' || frozen) ? dense(host, name, width, start, FROZEN) : part === 'a' ? (x: Value) => x : undefined;
  const learned = feedback === 'lite' && !frozen ? lowRank(host, name, width, rank, by) : undefined;
  if (!base || !learned) return base ?? learned!; // a frozen map is A, which has a base
  return (x, step) => add(base(x, step), learned(x, step));
}
