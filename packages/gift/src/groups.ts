import { OptionsError, SelectionError, type LinearPoint, type LinearRole, type Select } from '@espalier/core';
import type { Settings } from './options.ts';

/** Linears that share one generator, which acts on what they read. */
export interface Group {
  readonly name: string; // of its variables: 'text.attention.output'
  readonly linears: readonly LinearPoint[];
  readonly in: number;
}

const DEFAULT: readonly LinearRole[] = ['attention.output', 'cross.output'];

/** The linears to adapt. @throws SelectionError when there is none, or when the model lacks one of the roles asked for. */
export function chosen(linears: (at?: Select<LinearRole>) => LinearPoint[], at: Select<LinearRole> | undefined): LinearPoint[] {
  const roles = at?.role === undefined ? [] : [at.role].flat();
  for (const role of roles) linears({ role });
  return linears(at ?? { role: DEFAULT });
}

/** @throws SelectionError when linears of one group read different widths. @throws OptionsError when the rank is larger than the width. */
export function groupsOf(linears: readonly LinearPoint[], { sharing, rank, generator, posEnc }: Settings): Group[] {
  const byName = new Map<string, LinearPoint[]>();
  for (const w of linears) {
    const name = nameOf(w, sharing);
    byName.set(name, [...(byName.get(name) ?? []), w]);
  }
  return [...byName].map(([name, members]) => {
    const width = oneWidth(members, 'in', `sharing '${sharing}' gives one generator to`);
    if (generator === 'mixer' || posEnc === 'learnedRank') oneWidth(members, 'out', `${generator === 'mixer' ? "generator 'mixer'" : "posEnc 'learnedRank'"} counts the output channels of`);
    if (rank > width) throw new OptionsError(`'gift' option 'rank' is ${rank}, but '${members[0]!.path}' reads only ${width} features: use at most ${width}, or narrow at`);
    return { name, linears: members, in: width };
  });
}

/** A cross-attention belongs to no stream: its weights serve both. */
function nameOf({ role, stream, path }: LinearPoint, sharing: Settings['sharing']): string {
  if (sharing === 'global') return 'all';
  if (sharing === 'site') return path;
  return sharing === 'stream' && stream !== undefined ? `${stream}.${role}` : role;
}

function oneWidth(linears: readonly LinearPoint[], side: 'in' | 'out', why: string): number {
  const widths = new Map(linears.map((w) => [w[side], w.role]));
  const [first, ...others] = widths.keys();
  if (first === undefined || others.length) {
    const found = [...widths].map(([width, role]) => `'${role}' (${width})`).join(', ');
    throw new SelectionError(`'gift': ${why} linears whose ${side === 'in' ? 'inputs' : 'outputs'} differ: ${found}. Narrow at to roles of one width, or share by 'role'.`);
  }
  return first;
}
