import { EspalierError, OptionsError, type Points, type SitePoint, type StagePoint } from '@espalier/core';
import type { Settings } from './options.ts';

/** Places that read one signal: inputs of value linears in one block. */
export interface Use {
  readonly path: string; // 'joint.3', 'text.cross.0', of scheme 'b' 'text.cross.0.cross'
  readonly sites: readonly SitePoint[];
}
/** One block of a stream's way down. */
export interface Level {
  readonly path: string;
  readonly block: StagePoint;
  readonly uses: readonly Use[];
}
/** A stream that is fed back: its blocks from the bottom up. */
export interface Descent {
  readonly stream: string;
  readonly width: number; // d
  readonly levels: readonly Level[];
}
export interface Layout {
  readonly encoder: StagePoint;
  readonly from: number; // features are taken where block from - 1 ends
  readonly to: number; // the first block with feedback
  readonly descents: readonly Descent[];
}

/**
 * Where feedback goes in a model: every block l in [to, from), in every stream that l writes. In cross-attention a value
 * linear reads the stream attended to, and so does its signal. @throws OptionsError for indices that the model has not.
 */
export function layoutOf(points: Points, settings: Settings): Layout {
  const encoder = points.stage.find((s) => s.role === 'encoder');
  const blocks = points.stage.filter((s) => s.role === 'block').sort((a, b) => a.block! - b.block!);
  const last = blocks.at(-1);
  if (!encoder || !last) throw new EspalierError("'toast' runs an encoder twice, and this model names no stage 'encoder' with blocks in it");
  const count = last.block! + 1;
  const crosses = new Set(points.site.flatMap((s) => (s.role === 'cross.value.input' ? [s.block!] : [])));
  const { from = count, to = Math.min(...crosses, count) % count } = settings;
  if (from > count) throw new OptionsError(`'toast' option 'from': ${from}, but the encoder has ${count} blocks; ${count} is where the last one ends`);
  if (to >= from) throw new OptionsError(`'toast' option 'to': ${to} with feedback from ${from}: the encoder has ${count} blocks, and 0 <= to < from <= ${count} must hold`);
  if (settings.scheme === 'b' && !crosses.size) throw new OptionsError("'toast' option 'scheme': this model has no cross-attention, so that 'b' is 'a': drop it");
  const read = points.linear.find((w) => w.role === 'head.down')?.stream;
  const steered = blocks.filter((b) => b.block! >= to && b.block! < from);
  const levelOf = (stream: string, block: StagePoint): Level => {
    const path = block.path.startsWith(`${stream}.`) ? block.path : `${stream}.${block.path}`;
    const dead = (site: SitePoint) => settings.readout === 'cls' && block === last && block.writes.length > 1 && read !== undefined && readerOf(site, block) !== read;
    const own = points.site.filter((s) => s.stream === stream && s.block === block.block && isValue(s));
    const parts = [['cross', own.filter((s) => s.role === 'cross.value.input')], ['attention', own.filter((s) => s.role !== 'cross.value.input')]] as const;
    const apart = settings.scheme === 'b' && crosses.has(block.block!);
    // A pair that the answer reads through one of its places steers the other too, and does not cost more for it.
    const uses = apart ? parts.map(([name, sites]) => ({ path: `${path}.${name}`, sites: sites.filter((s) => !dead(s)) })) : [{ path, sites: own.every(dead) ? [] : own }];
    return { path, block, uses: uses.filter((u) => u.sites.length) };
  };
  const streams = [...new Set(steered.flatMap((b) => b.writes))];
  const descents = streams.map((stream) => {
    const levels = steered.filter((b) => b.writes.includes(stream)).map((b) => levelOf(stream, b));
    const site = levels.flatMap((l) => l.uses.flatMap((u) => u.sites))[0];
    return site && { stream, width: site.of!.in, levels };
  });
  return { encoder, from, to, descents: descents.filter((d) => d !== undefined) };
}

const isValue = ({ role }: SitePoint) => role === 'attention.value.input' || role === 'cross.value.input';

/** The stream that attends: in cross-attention the other one. */
const readerOf = ({ role, stream }: SitePoint, { writes }: StagePoint) => (role === 'cross.value.input' ? writes.find((s) => s !== stream) : stream);

/** All places of a stream that read a signal, with what carries it. */
export const usesOf = ({ levels }: Descent): readonly Use[] => levels.flatMap((l) => l.uses);
