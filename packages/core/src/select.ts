import { didYouMean, SelectionError } from './errors.ts';
import type { Point } from './points.ts';

/** What to choose points by. Plain data, so that a plan can be printed, saved and checked before a run. */
export interface Select<R extends string = string> {
  readonly role?: R | readonly R[] | undefined;
  readonly stream?: string | readonly string[] | undefined;
  readonly block?: readonly [from: number, to: number] | undefined; // to is exclusive
  readonly path?: string | readonly string[] | undefined; // exact, or a prefix that ends at a dot
}

/** Whether a point is selected: every key given must match. */
export function matches(p: Point, { role, stream, block, path }: Select): boolean {
  return (
    among(role, p.role) &&
    (stream === undefined || (p.stream !== undefined && among(stream, p.stream))) &&
    (block === undefined || (p.block !== undefined && p.block >= block[0] && p.block < block[1])) &&
    (path === undefined || list(path).some((want) => p.path === want || p.path.startsWith(`${want}.`)))
  );
}

const list = <T>(x: T | readonly T[]): readonly T[] => (isList(x) ? x : [x]);
const isList = <T>(x: T | readonly T[]): x is readonly T[] => Array.isArray(x);
const among = <T>(want: T | readonly T[] | undefined, got: T) => want === undefined || list(want).includes(got);

/** The selected points, at least one. @throws SelectionError naming who asked, what for, and the nearest names. */
export function select<P extends Point>(who: string, kind: string, points: readonly P[], at: Select = {}): P[] {
  const found = points.filter((p) => matches(p, at));
  if (found.length) return found;
  const roles = [...new Set(points.map((p) => p.role))];
  const unknown = (at.role === undefined ? [] : list(at.role)).filter((role) => !roles.includes(role));
  const hint = unknown.map((role) => `'${role}' is not a role of a ${kind} here.${didYouMean(role, roles)}`).join(' ');
  const blocks = points.flatMap((p) => p.block ?? []);
  const range = blocks.length ? ` Blocks are 0 to ${Math.max(...blocks)}.` : '';
  const streams = [...new Set(points.flatMap((p) => p.stream ?? []))];
  throw new SelectionError(
    `'${who}' selects no ${kind}: ${JSON.stringify(at)}. ${hint ? `${hint} ` : ''}This model has roles ${roles.join(', ')};` +
      ` streams ${streams.join(', ') || 'none'}.${range}`,
  );
}
