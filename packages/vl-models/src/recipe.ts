import type { Checkpoint, CheckpointTensor } from '@espalier/checkpoints';
import { CheckpointError } from '@espalier/core';
import { chooseRows } from './shared/rows.ts';
import { transposed } from './shared/transpose.ts';
import { storedShape } from './weights.ts';

/** How one array of a model is made. */
export interface Recipe {
  readonly keys: readonly string[]; // stored names it reads
  readonly drawn: boolean; // some of it comes from the seed
  make(scratch: Scratch): Promise<Float32Array>;
}

/** Memory that every array passes through on its way, made once as large as needed. */
export interface Scratch {
  of(bytes: number): ArrayBuffer;
}

export function scratch(): Scratch {
  let buffer = new ArrayBuffer(0);
  return {
    of: (bytes) => {
      if (buffer.byteLength < bytes) buffer = new ArrayBuffer(bytes);
      return buffer;
    },
  };
}

const FLOATS = new Set(['F64', 'F32', 'F16', 'BF16']);

/** A tensor of a checkpoint by name, of a floating type. @throws CheckpointError. */
function floating({ name, tensors }: Checkpoint, key: string): CheckpointTensor {
  const tensor = tensors.get(key)!;
  if (!FLOATS.has(tensor.dtype)) throw new CheckpointError(`${name}: '${key}' is of type ${tensor.dtype}, expected one of ${[...FLOATS].join(', ')}`);
  return tensor;
}

function misshapen(file: string, key: string, shape: readonly number[], expected: readonly number[], remedy = "Is the configuration this checkpoint's own?"): CheckpointError {
  return new CheckpointError(`${file}: '${key}' has shape [${shape.join(', ')}], the model expects [${expected.join(', ')}]. ${remedy}`);
}

const floats = (data: ArrayLike<number | bigint>): Float32Array => (data instanceof Float32Array ? data : Float32Array.from(data, Number));
const sizeOf = ({ shape }: { shape: readonly number[] }) => shape.reduce((a, b) => a * b, 1);

/** An array as the file has it; torch's [out, in] kernels become [in, out]. */
export function asStored(checkpoint: Checkpoint, key: string, path: string, shape: readonly number[]): Recipe {
  const tensor = floating(checkpoint, key);
  const expected = storedShape(path, shape);
  const remedy = path.startsWith('head.down.') ? 'Is the number of answers that of the checkpoint? Rows of other answers can be chosen, or the head drawn anew.' : undefined;
  if (tensor.shape.join() !== expected.join()) throw misshapen(checkpoint.name, key, tensor.shape, expected, remedy);
  const kernel = path.endsWith('.kernel');
  return {
    keys: [key],
    drawn: false,
    make: async (memory) => (kernel ? transposed(floats(await tensor.read(memory.of(4 * sizeOf(tensor)))), shape[1]!, shape[0]!) : floats(await tensor.read())),
  };
}

/** A table whose first rows are the file's and whose other rows are drawn. */
export function topRows(checkpoint: Checkpoint, key: string, shape: readonly number[], draw: () => Float32Array): Recipe {
  const tensor = floating(checkpoint, key);
  const [rows = 0, width = 0] = shape;
  if (tensor.shape.length !== 2 || tensor.shape[1] !== width || tensor.shape[0]! > rows) throw misshapen(checkpoint.name, key, tensor.shape, shape);
  return {
    keys: [key],
    drawn: tensor.shape[0]! < rows,
    make: async () => {
      const table = draw();
      table.set(floats(await tensor.read()));
      return table;
    },
  };
}

/** The answer layer with the file's rows in another order: answer i is row `rows[i]` of the file, or zeros where that is -1. */
export function chosenRows(checkpoint: Checkpoint, key: string, path: string, shape: readonly number[], rows: ArrayLike<number>): Recipe {
  const tensor = floating(checkpoint, key);
  const expected = storedShape(path, shape);
  const [stored = 0, ...rest] = tensor.shape;
  if (rest.join() !== expected.slice(1).join()) throw misshapen(checkpoint.name, key, tensor.shape, expected);
  if (rows.length !== expected[0]) throw new CheckpointError(`rows of ${rows.length} answers are chosen, the model has ${expected[0]}. Choose one for each.`);
  const bad = Array.from(rows).findIndex((row) => !Number.isInteger(row) || row < -1 || row >= stored);
  if (bad >= 0) throw new CheckpointError(`answer ${bad} is to be row ${rows[bad]} of '${key}', which has ${stored}: choose 0 to ${stored - 1}, or -1 for zeros`);
  const width = sizeOf({ shape: rest });
  return {
    keys: [key],
    drawn: false,
    make: async (memory) => {
      const values = floats(await tensor.read(memory.of(4 * sizeOf(tensor))));
      const out = chooseRows(values, width, rows, new Float32Array(rows.length * width));
      return path.endsWith('.kernel') ? transposed(out, rows.length, width) : out;
    },
  };
}

/** An answer layer from words: answer i is the mean of the word embeddings of its pieces, as VL-BERT starts its own; biases are 0. */
export function meansOfWords(checkpoint: Checkpoint, key: string, path: string, shape: readonly number[], pieces: readonly (readonly number[])[]): Recipe {
  if (path.endsWith('.bias')) return { keys: [], drawn: false, make: () => Promise.resolve(new Float32Array(shape[0]!)) };
  const table = floating(checkpoint, key);
  const [width = 0, answers = 0] = shape;
  const [words = 0, wide = 0] = table.shape;
  if (wide !== width) throw new CheckpointError(`an answer layer over ${width} numbers cannot start as means of word embeddings of ${wide} ('${key}')`);
  if (pieces.length !== answers) throw new CheckpointError(`word pieces of ${pieces.length} answers are given, the model has ${answers}. Give those of each.`);
  const bad = pieces.findIndex((own) => own.length === 0 || own.some((id) => !(id >= 0 && id < words)));
  if (bad >= 0) throw new CheckpointError(`answer ${bad} has the word pieces [${pieces[bad]!.join(', ')}], expected at least one, each below ${words}`);
  return {
    keys: [key],
    drawn: false,
    make: async (memory) => {
      const values = floats(await table.read(memory.of(4 * sizeOf(table))));
      const out = new Float32Array(width * answers);
      pieces.forEach((own, a) => {
        for (const id of own) for (let w = 0; w < width; w++) out[w * answers + a]! += values[id * width + w]! / own.length;
      });
      return out;
    },
  };
}
