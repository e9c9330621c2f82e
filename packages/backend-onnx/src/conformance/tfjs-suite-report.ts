import { emitters } from '../kernels/table.ts';
import { targets, type Spec, type SuiteRun, type Target } from './tfjs-suite.ts';

export type SuiteRuns = Readonly<Record<Target, SuiteRun>>;

/** Specs of the suite that may fail here, each with its reason; nothing else may. */
export const knownDifferences: readonly (Pick<Spec, 'file' | 'name'> & { readonly reason: string })[] = [
  {
    file: 'ops/tan_test.js', name: 'tan numbers exceed float32 precision',
    reason: 'tan(-470910688) is off by the last bit of a float32: 30144.178 instead of 30144.176, and the spec allows 0.001',
  },
];

export interface Difference extends Spec {
  readonly target: Target;
  readonly reason: string | undefined; // undefined: nobody knows
}

/** Kernels that are another shape of the same array: ONNX Runtime is never asked. */
const VIEWS: ReadonlySet<string> = new Set(['Identity', 'Reshape', 'ExpandDims']);

/** Every failure of a run on our backend, with why it is none of ours, or known. */
export function differences(runs: SuiteRuns): Difference[] {
  const onCpu = new Set(failed(runs.cpu).map(id));
  const known = new Map(knownDifferences.map((d) => [id(d), d.reason]));
  return targets.filter((t) => t !== 'cpu').flatMap((target) =>
    failed(runs[target]).map((spec) => ({ ...spec, target, reason: onCpu.has(id(spec)) ? 'fails on the cpu backend too' : known.get(id(spec)) })));
}

/** Kernels with an emitter that the run never asked ONNX Runtime for. */
export const neverComputed = ({ computed }: SuiteRun): string[] => Object.keys(emitters).filter((k) => !VIEWS.has(k) && !computed.includes(k));

export const count = ({ specs }: SuiteRun, status: Spec['status']): number => specs.filter((s) => s.status === status).length;

/** The specs that were skipped, counted by file and reason. */
export function skipped({ specs }: SuiteRun): { readonly file: string; readonly reason: string; readonly specs: number }[] {
  const groups = new Map<string, { file: string; reason: string; specs: number }>();
  for (const { file, name, status } of specs) {
    if (status !== 'skipped') continue;
    const reason = /^(needs [^:]+):/.exec(name)?.[1] ?? "switched off in tfjs's own source";
    const group = groups.get(`${file} ${reason}`) ?? { file, reason, specs: 0 };
    groups.set(`${file} ${reason}`, { ...group, specs: group.specs + 1 });
  }
  return [...groups.values()];
}

/** The page: counts, differences, what was skipped and why, and how to repeat it. */
export function reportOf(runs: SuiteRuns): string {
  const { version, files } = runs.cpu;
  const found = differences(runs);
  const names: Readonly<Record<Target, string>> = { cpu: 'cpu, to compare', lazy: 'onnx, lazy', eager: 'onnx, eager' };
  const by = (d: Pick<Spec, 'file' | 'name'>) => found.filter((f) => id(f) === id(d));
  const unique = [...new Map(found.map((d) => [id(d), d])).values()];
  return [
    "# tfjs's own tests on the onnx backend", '',
    `All ${files.length} test files that ship in @tensorflow/tfjs-core ${version}, unchanged, with the library's ES modules as the one instance of`,
    'TensorFlow.js. Each backend runs them in a process of its own.', '',
    table(['backend', 'ran', 'passed', 'failed', 'skipped'], targets.map((t) => {
      const [passed, failures] = [count(runs[t], 'passed'), count(runs[t], 'failed')];
      return [names[t], passed + failures, passed, failures, count(runs[t], 'skipped')];
    })), '',
    `ONNX Runtime computed ${runs.lazy.computed.length} of the ${Object.keys(emitters).length} kernels that have an emitter; ${[...VIEWS].join(', ')} are views, which compute nothing.`,
    `${neverComputed(runs.lazy).length ? `Never asked for: ${neverComputed(runs.lazy).join(', ')}. ` : ''}The other kernels are the cpu backend's, on our arrays.`, '',
    "The suite compares floats to within 0.001 and tests no replayed steps: `src/conformance/ops.test.ts` does, to within 1e-6.", '',
    '## Differences', '',
    unique.length ? table(['spec', 'where', 'reason'], unique.map((d) => [`${d.file}: ${d.name}`, by(d).map((f) => f.target).join(', '), d.reason ?? `**unexplained**: ${d.messages[0] ?? ''}`])) : 'None.', '',
    '## Skipped', '',
    table(['file', 'specs', 'reason'], skipped(runs.lazy).map((s) => [s.file, s.specs, s.reason])), '',
    '## To repeat', '',
    "`npm run test:full` fails for a difference that is not listed with a reason in `packages/backend-onnx/src/conformance/tfjs-suite-report.ts`. After", 'a build, this page is written by', '',
    '```bash', 'node packages/backend-onnx/dist/conformance/tfjs-suite-main.js --write docs/tfjs-suite.md', '```', '',
  ].join('\n');
}

const failed = ({ specs }: SuiteRun): Spec[] => specs.filter((s) => s.status === 'failed');
const id = ({ file, name }: Pick<Spec, 'file' | 'name'>): string => `${file} ${name}`;

function table(head: readonly string[], rows: readonly (readonly (string | number)[])[]): string {
  const line = (cells: readonly (string | number)[]) => `| ${cells.map((c) => String(c).replaceAll('|', '\\|').replaceAll('\n', ' ')).join(' | ')} |`;
  return [line(head), `|${head.map(() => '---|').join('')}`, ...rows.map(line)].join('\n');
}
