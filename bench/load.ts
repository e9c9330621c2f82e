import { mkdir, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { writeSafetensorsTo, writeTorchZipTo, type TensorToWrite } from '@espalier/checkpoints';
import { selectBackend } from '@espalier/core/backend';
import { openWeights } from '@espalier/pretrained';
import { writeWholeBy } from '@espalier/train';
import { arraysOf, backbone, disposeModel, initialValues, loadModel, storedShape, transposed } from '@espalier/vl-models';
import * as tf from '@tensorflow/tfjs';
import { z } from 'zod';
import { inProcessOfItsOwn, peakMemory } from './memory.ts';
import { median } from './paired.ts';

const FOLDER = join('out', 'bench', 'load');
const kind = backbone('lxmert');
const config = kind.schema.parse({});

/** Formats with their goals: loading, the transposition of kernels taken off, against reading the file. */
const formats = { safetensors: { file: join(FOLDER, 'lxmert-base.safetensors'), goal: 1.5 }, zip: { file: join(FOLDER, 'lxmert-base.bin'), goal: 2 } } as const;
type Format = keyof typeof formats;
const isFormat = (x: string): x is Format => x in formats;

/**
 * What loading LXMERT-base (856 MB of float32) costs: time against reading the file from a warm cache, and memory at its
 * peak against the tensors. Files are written once to out/bench/load.
 *
 *   npm run bench -- load [--rounds 9] [--format safetensors|zip]
 */
export async function load(args: string[]): Promise<void> {
  const { values } = parseArgs({ args, options: { rounds: { type: 'string', default: '9' }, format: { type: 'string' }, child: { type: 'string' } } });
  if (values.child !== undefined && isFormat(values.child)) return memoryChild(values.child);
  if (values.format !== undefined && !isFormat(values.format)) throw new Error(`no format '${values.format}'. There are ${Object.keys(formats).join(', ')}.`);
  const chosen = values.format === undefined ? (['safetensors', 'zip'] as const) : [values.format];
  await selectBackend('onnx');
  await write();
  for (const format of chosen) await report(format, Number(values.rounds));
}

async function report(format: Format, rounds: number): Promise<void> {
  const { file, goal } = formats[format];
  const size = (await stat(file)).size;
  const kernels = new Map([...arraysOf(kind, config).shapes].filter(([path]) => path.endsWith('.kernel')));
  const stored = new Map([...kernels].map(([path, shape]) => [path, initialValues(path, [1, shape[0]! * shape[1]!], 0)]));
  const times: Record<'read' | 'transpose' | 'load', number[]> = { read: [], transpose: [], load: [] };
  for (let round = -1; round < rounds; round++) {
    const one = {
      read: await timed(async () => void (await readFile(file))),
      transpose: await timed(async () => kernels.forEach((shape, path) => void transposed(stored.get(path)!, shape[1]!, shape[0]!))),
      load: await timed(async () => disposeModel(await loaded(file))),
    };
    if (round >= 0) for (const part of ['read', 'transpose', 'load'] as const) times[part].push(one[part]);
  }
  const ratios = times.load.map((t, i) => (t - times.transpose[i]!) / times.read[i]!).sort((a, b) => a - b);
  const [ratio, low, high] = [median(ratios), ratios[Math.floor(0.1 * rounds)]!, ratios[Math.ceil(0.9 * rounds) - 1]!];
  const ms = (part: keyof typeof times) => median(times[part]).toFixed(0);
  console.log(`\n${format}, ${(size / 1e6).toFixed(0)} MB: npm run bench -- load --format ${format}`);
  console.log(`  (load - transpose) / read   ${ratio.toFixed(2)} [${low.toFixed(2)}, ${high.toFixed(2)}]  n = ${rounds}, 80 % of rounds; goal <= ${goal}${ratio <= goal ? '' : ' MISSED'}; load ${ms('load')} ms, transpose ${ms('transpose')} ms, read ${ms('read')} ms`);
  const { idle, peak, tensors } = await inProcessOfItsOwn(['load', '--child', format], Memory);
  const share = (peak - idle) / tensors;
  console.log(`  peak memory / tensors       ${share.toFixed(2)}  goal <= 1.2${share <= 1.2 ? '' : ' MISSED'}; ${(peak / 1e6).toFixed(0)} MB at the peak, ${(idle / 1e6).toFixed(0)} MB before, ${(tensors / 1e6).toFixed(0)} MB of tensors`);
}

async function loaded(file: string) {
  const checkpoint = await openWeights(file);
  try {
    return (await loadModel(kind, config, checkpoint)).model.scope;
  } finally {
    await checkpoint.close();
  }
}

async function timed(work: () => Promise<void>): Promise<number> {
  const began = performance.now();
  await work();
  return performance.now() - began;
}

/** Writes both files of drawn weights, once. */
async function write(): Promise<void> {
  await mkdir(FOLDER, { recursive: true });
  const { shapes, keyOf } = arraysOf(kind, config);
  const tensors = (): TensorToWrite[] => [...shapes].map(([path, shape]) => ({
    name: keyOf(path), dtype: 'F32', shape: storedShape(path, shape), read: () => Promise.resolve(noise(shape.reduce((a, b) => a * b, 1))),
  }));
  for (const [format, { file }] of Object.entries(formats)) {
    if (await stat(file).catch(() => undefined)) continue;
    console.log(`writing ${file}`);
    await writeWholeBy(file, (put) => (format === 'zip' ? writeTorchZipTo({ write: put }, tensors()) : writeSafetensorsTo({ write: put }, tensors())));
  }
}

/** Small numbers that are quickly made: what they are does not matter to loading. */
const noise = (size: number): Float32Array => Float32Array.from({ length: size }, (_, i) => ((i * 7919) % 1009) / 2e4 - 0.025);

const Memory = z.strictObject({ idle: z.number(), peak: z.number(), tensors: z.number() });

async function memoryChild(format: Format): Promise<void> {
  await selectBackend('onnx');
  const { file } = formats[format];
  const idle = process.memoryUsage.rss();
  const scope = await loaded(file);
  const peak = await peakMemory();
  const tensors = [...scope.points.linear, ...scope.points.norm, ...scope.points.embedding].flatMap(({ pretrained }) => Object.values(pretrained)).reduce((sum, x) => sum + (x instanceof tf.Tensor ? 4 * x.size : 0), 0);
  console.log(JSON.stringify({ idle, peak, tensors }));
}
