import { copyFile, mkdir } from 'node:fs/promises';
import { extname, join } from 'node:path';
import { writeSafetensorsTo, writeTorchZipTo, type Checkpoint, type CheckpointTensor, type TensorToWrite } from '@espalier/checkpoints';
import { EspalierError, storedSize, type Dtype } from '@espalier/core';
import { writeWhole, writeWholeBy } from '@espalier/train';
import { applied, chooseRows, type Backbone } from '@espalier/vl-models';
import { UsageError } from './errors.ts';

export type Names = 'stored' | 'canonical' | 'original';

export interface Conversion {
  readonly names: Names;
  readonly kind: Backbone | undefined; // needed for other names, and to find the answer layer
  readonly config: unknown; // of the kind; {} where it is not known
  readonly dtype: 'F32' | 'F16' | 'BF16' | undefined; // of floating tensors; undefined: as stored
  readonly rows: readonly number[] | undefined; // of the answer layer: new row i is row rows[i] of the file, -1 zeros
}

/** The tensors of a checkpoint as they are to be written. @throws EspalierError when two would have one name. */
export function converted(checkpoint: Checkpoint, { names, kind, config, dtype, rows }: Conversion): TensorToWrite[] {
  const canonical = kind ? (key: string) => applied(kind.keys.renames, key) : (key: string) => key;
  const named = (key: string) => (names === 'stored' || !kind ? key : names === 'canonical' ? canonical(key) : applied(kind.keys.original, canonical(key)));
  const answerKeys = new Set(kind && rows ? ['head.down.kernel', 'head.down.bias'].map(kind.keys.of(config)) : []);
  const taken = new Map<string, string>();
  let answers = 0;
  const list = [...checkpoint.tensors].map(([key, tensor]) => {
    const name = named(key);
    const other = taken.get(name);
    if (other !== undefined) throw new EspalierError(`${checkpoint.name}: '${other}' and '${key}' would both be '${name}'`);
    taken.set(name, key);
    const chosen = rows && answerKeys.has(canonical(key));
    if (chosen) answers++;
    return written(name, chosen ? withRows(key, tensor, rows) : tensor, dtype);
  });
  if (rows && !answers) throw new EspalierError(`${checkpoint.name} has no answer layer (${[...answerKeys].join(', ')}) whose rows could be chosen`);
  return list;
}

const FLOATS: readonly Dtype[] = ['F64', 'F32', 'F16', 'BF16'];

function written(name: string, { dtype, shape, read }: CheckpointTensor, to: Conversion['dtype']): TensorToWrite {
  if (to === undefined || !FLOATS.includes(dtype) || to === dtype) return { name, dtype, shape, read: () => read() };
  return {
    name, dtype: to, shape,
    read: async () => {
      const values = await read();
      return values instanceof Float32Array ? values : Float32Array.from(values, Number);
    },
  };
}

/** A tensor with its first axis put together anew. */
function withRows(key: string, tensor: CheckpointTensor, rows: readonly number[]): CheckpointTensor {
  const [count = 0, ...rest] = tensor.shape;
  const bad = rows.find((row) => row >= count);
  if (bad !== undefined) throw new EspalierError(`'${key}' has ${count} rows, row ${bad} was asked for: is the first list of answers that of this checkpoint?`);
  const width = rest.reduce((a, b) => a * b, 1);
  return {
    dtype: tensor.dtype, shape: [rows.length, ...rest],
    read: async () => {
      const values = await tensor.read();
      if (values instanceof Float32Array) return chooseRows(values, width, rows, new Float32Array(rows.length * width));
      if (values instanceof Float64Array) return chooseRows(values, width, rows, new Float64Array(rows.length * width));
      throw new EspalierError(`'${key}' is of type ${tensor.dtype}, expected floating numbers`);
    },
  };
}

const FILES: Readonly<Record<string, 'safetensors' | 'torch-zip'>> = { '.safetensors': 'safetensors', '.bin': 'torch-zip', '.pth': 'torch-zip', '.pt': 'torch-zip', '.model': 'torch-zip' };

/** What is to be written where: a file by its ending, else a directory with model.safetensors. */
export function target(to: string): { readonly file: string; readonly format: 'safetensors' | 'torch-zip'; readonly directory: string | undefined } {
  const ending = extname(to);
  const format = FILES[ending];
  if (format) return { file: to, format, directory: undefined };
  if (/^\.(json|npz|h5|onnx|ckpt|msgpack|tar|zip|th|gguf)$/.test(ending)) throw new UsageError(`--to ${to}: files ending in ${ending} are not written. Endings are ${Object.keys(FILES).join(', ')}; anything else is a directory, with model.safetensors.`);
  return { file: join(to, 'model.safetensors'), format: 'safetensors', directory: to };
}

/** Writes tensors to a file, whole or not at all, one in memory at a time; gives the bytes that their values take. */
export async function writeCheckpoint(file: string, format: 'safetensors' | 'torch-zip', tensors: readonly TensorToWrite[], metadata: Readonly<Record<string, string>>): Promise<number> {
  await writeWholeBy(file, (write) => (format === 'safetensors' ? writeSafetensorsTo({ write }, tensors, { format: 'pt', ...metadata }) : writeTorchZipTo({ write }, tensors)));
  return tensors.reduce((sum, { dtype, shape }) => sum + storedSize(dtype) * shape.reduce((a, b) => a * b, 1), 0);
}

/** Puts configuration and vocabulary beside the weights. */
export async function writeBeside(directory: string, from: { readonly directory: string; readonly files: readonly string[] }, config: Readonly<Record<string, unknown>> | undefined): Promise<string[]> {
  await mkdir(directory, { recursive: true });
  const copied = from.files.filter((name) => name === 'vocab.txt' || name === 'tokenizer.json' || name === 'tokenizer_config.json' || (name === 'config.json' && !config));
  for (const name of copied) await copyFile(join(from.directory, name), join(directory, name));
  if (config) await writeWhole(join(directory, 'config.json'), new TextEncoder().encode(`${JSON.stringify(config, null, 1)}\n`));
  return [...copied, ...(config ? ['config.json'] : [])];
}
