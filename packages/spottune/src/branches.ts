import { add, matMul, reshape, streamOf, type Branch, type Host, type ParameterPoint, type Rows, type Run, type Step, type Streams, type View } from '@espalier/core';
import { kaiming, uniform } from '@espalier/core';
import type { Off } from './strategies.ts';
import type { Settings } from './settings.ts';
import type { Unit } from './units.ts';

/** The two ways through a unit. */
export interface Branches {
  readonly on: Branch;
  readonly off: Branch;
}
/** Makes the branches of one run of a unit. */
export type BranchesOf = (run: Run, step: Step) => Branches;

/**
 * On runs the stage as adapted. Off runs it as pretrained and without dropout, passes the streams on (skip: h' = h), or
 * runs h' = h R + r (replace: R [D, D] and r [D] of the plugin, for each stream that the stage writes).
 */
export function branchesOf(host: Host, unit: Unit, off: Off, { frozenDropout, branchInput }: Settings): BranchesOf {
  const instead = off === 'replace' ? replacement(host, unit) : undefined;
  return (run, step) => {
    const view = (rows: Rows | undefined): View => (rows ? { rows } : {});
    const still: View = step.training && !frozenDropout ? { training: false } : {};
    const on: Branch = (s, rows) => run(s, view(rows));
    const closed: Branch = (s, rows) => {
      if (off === 'skip') return s;
      return instead ? instead(s, step) : run(s, { variant: 'pretrained', ...still, ...view(rows) });
    };
    // The released code of whole blocks runs the closed branch behind the open one.
    const behind = branchInput === 'sequential' && unit.stage.role === 'block' && off !== 'skip';
    return { on, off: behind ? (s, rows) => closed(on(s, rows), rows) : closed };
  };
}

/** One linear per stream in place of a stage. It starts as linear layers do: uniform within 1 / sqrt(D). */
function replacement(host: Host, { stage, weights }: Unit): (s: Streams, step: Step) => Streams {
  const width = weights.find((w) => 'dim' in w)?.dim ?? 1;
  const own = stage.writes.map((stream): { stream: string; kernel: ParameterPoint; bias: ParameterPoint } => {
    const path = `replace.${stage.path}${stage.writes.length > 1 ? `.${stream}` : ''}`;
    const kernel = host.variable(`${path}.kernel`, [width, width], kaiming);
    return { stream, kernel, bias: host.variable(`${path}.bias`, [width], uniform(1 / Math.sqrt(width))) };
  });
  return (streams, step) => ({
    ...streams,
    ...Object.fromEntries(
      own.map(({ stream, kernel, bias }) => {
        const x = streamOf(streams, stream);
        const flat = reshape(x.hidden, [-1, width]); // [B T, D]
        const y = add(matMul(flat, step.read(kernel)), step.read(bias));
        return [stream, { ...x, hidden: reshape(y, x.hidden.shape) }];
      }),
    ),
  });
}
