import { CheckpointError } from '@espalier/core';
import type { Cursor } from './pickle-cursor.ts';
import type { Pickled, Storage } from './pickle-values.ts';

/** What a pickle may ask for; far above what real checkpoints need (10^5 steps, 10^4 objects). */
export const LIMITS = {
  steps: 5_000_000, // opcodes and copied items
  objects: 1_000_000, // lists, tuples, dicts, tensors
  stack: 1_000_000,
  memo: 1_000_000,
  marks: 1_000, // open at once
  depth: 100, // of containers in containers
  text: 16 * 2 ** 20, // bytes of one text
  texts: 64 * 2 ** 20, // bytes of all
  name: 256,
} as const;

/** An unpickler's state. Whatever it takes in is counted against the limits. */
export interface Machine {
  readonly in: Cursor;
  readonly stack: Pickled[];
  readonly marks: number[]; // lengths of the stack
  readonly memo: Map<number, Pickled>;
  readonly storages: Map<string, Storage>;
  charge(steps: number): void;
  /** Puts a new object on the stack, `inside` being what it holds. */
  make(value: Pickled & object, inside: readonly Pickled[]): void;
  /** Counts how deep `value` is, now that it holds what is `inside`. */
  contain(value: Pickled & object, inside: readonly Pickled[]): void;
  text(length: number): string;
  bytes(length: number): Uint8Array;
}

export function newMachine(input: Cursor, who: string): Machine {
  let steps = 0;
  let objects = 0;
  let texts = 0;
  const stack: Pickled[] = [];
  const depths = new WeakMap<object, number>();
  const over = (what: string, limit: number) => new CheckpointError(`${who}: the pickle has more than ${limit} ${what} (byte ${input.at}); no checkpoint needs so many, refused`);
  const contain = (value: Pickled & object, inside: readonly Pickled[]) => {
    let depth = depths.get(value) ?? 1;
    for (const item of inside) if (typeof item === 'object' && item !== null) depth = Math.max(depth, 1 + (depths.get(item) ?? 0));
    if (depth > LIMITS.depth) throw over('containers inside each other', LIMITS.depth);
    depths.set(value, depth);
  };
  const chargeText = (length: number) => {
    texts += length;
    if (length > LIMITS.text) throw over('bytes in one text', LIMITS.text);
    if (texts > LIMITS.texts) throw over('bytes of text', LIMITS.texts);
  };
  return {
    in: input, stack, marks: [], memo: new Map(), storages: new Map(),
    charge: (n) => {
      steps += n;
      if (steps > LIMITS.steps) throw over('steps', LIMITS.steps);
    },
    make: (value, inside) => {
      if (++objects > LIMITS.objects) throw over('objects', LIMITS.objects);
      contain(value, inside);
      push({ stack, in: input }, value);
    },
    contain,
    text: (length) => {
      chargeText(length);
      return input.text(length);
    },
    bytes: (length) => {
      chargeText(length);
      return input.bytes(length);
    },
  };
}

export function push(m: Pick<Machine, 'stack' | 'in'>, value: Pickled): void {
  if (m.stack.length >= LIMITS.stack) m.in.fail(`the pickle has more than ${LIMITS.stack} values on its stack; refused`);
  m.stack.push(value);
}

/** Nothing below an open mark may be taken. */
export function pop(m: Machine): Pickled {
  const value = m.stack.length > (m.marks.at(-1) ?? 0) ? m.stack.pop() : undefined;
  return value === undefined ? m.in.fail('the pickle takes a value that is not there') : value;
}

export function popMark(m: Machine): Pickled[] {
  const mark = m.marks.pop();
  return mark === undefined ? m.in.fail('the pickle takes a mark that is not there') : m.stack.splice(mark);
}

export function top(m: Machine): Pickled {
  const value = pop(m);
  m.stack.push(value);
  return value;
}
