// Espalier against PyTorch on training steps of LXMERT-base: processes that take turns, torch, espalier, torch, ...
// Prints espalier / torch of the medians over rounds of each process's median step, with the range that resampled rounds
// give in 95 % of cases.
//
//   node reference/torch/compare.mjs --rounds 5 --steps 7 --threads 2

import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

const here = dirname(fileURLToPath(import.meta.url));
const root = join(here, '..', '..');
const venv = join(root, '.cache', 'torch-venv', 'bin', 'python');

const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '5' }, // processes of each side and kind
    steps: { type: 'string', default: '7' }, // measured in each process
    threads: { type: 'string', default: String(availableParallelism()) },
    kinds: { type: 'string', default: 'lora,full' },
    python: { type: 'string', default: existsSync(venv) ? venv : 'python3' },
    adamw: { type: 'string', default: 'fused' },
  },
});
const { steps, threads, python, adamw } = values;
const rounds = Number(values.rounds);
const kinds = values.kinds.split(',');

/** The JSON lines that a program prints. */
function linesOf(program, args) {
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, { cwd: root, stdio: ['ignore', 'pipe', 'inherit'], env: { ...process.env, OMP_NUM_THREADS: threads } });
    let printed = '';
    child.stdout.setEncoding('utf8').on('data', (text) => (printed += text));
    child.on('error', reject);
    child.on('close', (code) => {
      if (code !== 0) reject(new Error(`${program} ${args.join(' ')} ended with ${code}`));
      else resolve(printed.split('\n').filter((l) => l.startsWith('{')).map((l) => JSON.parse(l)));
    });
  });
}

async function torch(kind) {
  const [line] = await linesOf(python, [join(here, 'bench_torch.py'), '--kinds', kind, '--rounds', steps, '--threads', threads, '--adamw', adamw]);
  return { median: line.median, min: line.min, work: [line.parameters, line.trainable, line.macs] };
}

async function espalier(kind) {
  const lines = await linesOf(process.execPath, ['bench/dist/main.js', 'engine', '--only', `lxmert-${kind}`, '--rounds', steps, '--threads', threads, '--json']);
  const step = lines.find((l) => l.what === 'step');
  return { median: step.value, min: step.min, work: [step.work.parameters, step.work.trainable, step.work.macs] };
}

const median = (xs) => {
  const sorted = [...xs].sort((a, b) => a - b);
  return (sorted[(sorted.length - 1) >> 1] + sorted[sorted.length >> 1]) / 2;
};

/** 2.5 % and 97.5 % of the ratio over rounds drawn again with replacement; a generator of its own, so that it repeats. */
function interval(ours, theirs) {
  let state = 1;
  const draw = (xs) => xs.map(() => xs[(state = (state * 48271) % 0x7fffffff) % xs.length]);
  const ratios = Array.from({ length: 2000 }, () => median(draw(ours)) / median(draw(theirs))).sort((a, b) => a - b);
  return [ratios[50], ratios[1949]];
}

for (const kind of kinds) {
  const found = { torch: [], espalier: [] };
  for (let round = 0; round < rounds; round++) {
    // Every other round begins with the other side.
    for (const [side, run] of round % 2 ? [['espalier', espalier], ['torch', torch]] : [['torch', torch], ['espalier', espalier]]) {
      const one = await run(kind);
      found[side].push(one);
      console.log(`${kind} round ${round + 1} ${side.padEnd(8)} median ${one.median.toFixed(0)} ms, min ${one.min.toFixed(0)} ms`);
    }
  }
  const [a, b] = [found.espalier[0].work, found.torch[0].work];
  // Espalier sums the rows of an embedding's gradient by small products, which PyTorch adds without one.
  if (a[0] !== b[0] || a[1] !== b[1] || Math.abs(a[2] / b[2] - 1) > 1e-3) throw new Error(`not the same work: parameters, trained, multiply-adds are ${a.join(', ')} here and ${b.join(', ')} in PyTorch`);
  const [ours, theirs] = [found.espalier, found.torch].map((all) => all.map((x) => x.median));
  const [low, high] = interval(ours, theirs);
  const best = Math.min(...found.espalier.map((x) => x.min)) / Math.min(...found.torch.map((x) => x.min));
  console.log(`${kind}: espalier / torch ${(median(ours) / median(theirs)).toFixed(3)} [${low.toFixed(3)}, ${high.toFixed(3)}], of the quietest steps ${best.toFixed(3)}`);
  console.log(`  medians ${median(ours).toFixed(0)} / ${median(theirs).toFixed(0)} ms, ${rounds} processes a side, ${steps} steps each, ${threads} threads; ${a[0]} parameters, ${a[1]} trained on both sides; ${a[2]} and ${b[2]} multiply-adds a step`);
}
