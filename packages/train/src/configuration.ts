import { createHash } from 'node:crypto';
import { CheckpointError } from '@espalier/core';

/** What determines a run's numbers, as plain data. */
export type Configuration = Readonly<Record<string, unknown>>;

/** SHA-256 over the sorted `key = value` lines of a configuration. */
export const configurationHash = (configuration: Configuration): string =>
  createHash('sha256').update([...flat(configuration)].sort().join('\n')).digest('hex');

/** @throws CheckpointError naming every key in which the two differ, both values, and what to do. */
export function requireEqual(saved: Configuration, current: Configuration, directory: string): void {
  const [a, b] = [new Map(flat(saved)), new Map(flat(current))];
  const keys = [...new Set([...a.keys(), ...b.keys()])].filter((key) => a.get(key) !== b.get(key)).sort();
  if (keys.length === 0) return;
  const lines = keys.slice(0, MOST).map((key) => `  ${key}: ${a.get(key) ?? 'not set'} in the checkpoint, ${b.get(key) ?? 'not set'} now`);
  if (keys.length > MOST) lines.push(`  and ${keys.length - MOST} more`);
  throw new CheckpointError(
    `cannot resume from ${directory}: it belongs to a run with another configuration.\n${lines.join('\n')}\nResume with the configuration of the checkpoint, or start a new run in another directory.`,
  );
}

const MOST = 12;

/** `a.b.0 -> JSON` for every leaf. Values are compared as JSON has them, for that is how they were saved. */
function flat(tree: Configuration): Iterable<[key: string, value: string]> {
  const found: [string, string][] = [];
  const walk = (x: unknown, path: string) => {
    const entries = typeof x === 'object' && x !== null ? Object.entries(x) : [];
    if (entries.length) for (const [key, value] of entries) walk(value, path ? `${path}.${key}` : key);
    else if (x !== undefined) found.push([path, JSON.stringify(x)]);
  };
  walk(JSON.parse(JSON.stringify(tree)), '');
  return found;
}
