import * as tf from '@tensorflow/tfjs';
import { CheckpointError, didYouMean, normal, ones, random, zeros, type Initializer, type Scope, type StoredTensor, type TensorSource } from '@espalier/core';

/** The reference checkpoint's key of a tensor path such as 'text.0.attention.query.kernel'. */
export type KeyOf = (path: string) => string;

/** What became of a checkpoint's tensors. */
export interface LoadReport {
  readonly loaded: readonly string[];
  readonly missing: readonly string[]; // keys the model wants that the file lacks
  readonly unexpected: readonly string[]; // keys of the file that no place of the model took
}

/** Makes a naming function from rules applied in order to a tensor path; parts become torch's weight and bias. */
export function naming(rules: readonly (readonly [from: RegExp, to: string])[]): KeyOf {
  const parts: Record<string, string> = { kernel: 'weight', bias: 'bias', gamma: 'weight', beta: 'bias', table: 'weight' };
  return (path) => {
    const dot = path.lastIndexOf('.');
    const part = parts[path.slice(dot + 1)];
    if (part === undefined) throw new Error(`'${path}' does not end in a part of a place`);
    return `${rules.reduce((key, [from, to]) => key.replace(from, to), path.slice(0, dot))}.${part}`;
  };
}

/** BERT's initialisation: N(0, 0.02) for kernels and tables, 0 for biases and offsets, 1 for gains, by tensor path. */
export function initialTensor(path: string, shape: readonly number[], seed: number, deviation = 0.02): tf.Tensor {
  const part = path.slice(path.lastIndexOf('.') + 1);
  const initializer: Initializer = part === 'gamma' ? ones : part === 'kernel' || part === 'table' ? normal(deviation) : zeros;
  return tf.tensor(initializer(shape, random(seed, 'init', path)), [...shape]);
}

/** Arrays of a new model, by a seed. */
export const initialised =
  (seed: number, deviation?: number): TensorSource =>
  (path, shape) =>
    initialTensor(path, shape, seed, deviation);

/** Arrays from a checkpoint under its own key names; torch's [out, in] kernels become [in, out]. */
export function fromCheckpoint(tensors: ReadonlyMap<string, StoredTensor>, keyOf: KeyOf, file: string) {
  const loaded: string[] = [];
  const missing: string[] = [];
  const source: TensorSource = (path, shape) => {
    const key = keyOf(path);
    const stored = tensors.get(key);
    if (!stored) {
      missing.push(key);
      return tf.zeros([...shape]);
    }
    loaded.push(key);
    const kernel = path.endsWith('.kernel');
    const wanted = kernel ? [...shape].reverse() : shape;
    if (stored.shape.join() !== wanted.join())
      throw new CheckpointError(`${file}: '${key}' has shape [${stored.shape.join(', ')}], the model expects [${wanted.join(', ')}]. Is the configuration this checkpoint's own?`);
    const values = stored.data instanceof BigInt64Array ? Float32Array.from(stored.data, Number) : Float32Array.from(stored.data);
    return tf.tensor(kernel ? transposed(values, shape[1]!, shape[0]!) : values, [...shape]);
  };
  const report = (): LoadReport => ({ loaded, missing, unexpected: [...tensors.keys()].filter((k) => !loaded.includes(k)).sort() });
  return { source, report };
}

/** Refuses a checkpoint that lacks what the model needs, or has what it does not know, unless allowed by pattern. */
export function assertComplete({ missing, unexpected }: LoadReport, file: string, ignore: readonly RegExp[]): void {
  const allowed = (key: string) => ignore.some((r) => r.test(key));
  const lacking = missing.filter((k) => !allowed(k));
  const surplus = unexpected.filter((k) => !allowed(k));
  if (!lacking.length && !surplus.length) return;
  const some = (keys: readonly string[]) => keys.slice(0, 5).map((k) => `'${k}'${didYouMean(k, surplus.length < 200 ? surplus : [])}`).join(', ') + (keys.length > 5 ? `, and ${keys.length - 5} more` : '');
  throw new CheckpointError(
    [lacking.length ? `${file} lacks ${lacking.length} tensors: ${some(lacking)}.` : '', surplus.length ? `${file} has ${surplus.length} tensors this model does not know: ${surplus.slice(0, 5).join(', ')}.` : '', 'Check that configuration and weights belong together.']
      .filter(Boolean)
      .join(' '),
  );
}

/** The arrays of a model (or of a merged one) under a checkpoint's key names, kernels back in torch's [out, in]. */
export async function toCheckpoint(arrays: ReadonlyMap<string, tf.Tensor>, keyOf: KeyOf): Promise<Map<string, { shape: readonly number[]; data: Float32Array }>> {
  const out = new Map<string, { shape: readonly number[]; data: Float32Array }>();
  for (const [path, tensor] of arrays) {
    const values = await tensor.data<'float32'>();
    const kernel = path.endsWith('.kernel');
    const [rows, columns] = tensor.shape as [number, number];
    out.set(keyOf(path), kernel ? { shape: [columns, rows], data: transposed(values, rows, columns) } : { shape: tensor.shape, data: Float32Array.from(values) });
  }
  return out;
}

/** [rows, columns] -> [columns, rows]. */
function transposed(values: Float32Array, rows: number, columns: number): Float32Array {
  const out = new Float32Array(values.length);
  for (let r = 0; r < rows; r++) for (let c = 0; c < columns; c++) out[c * rows + r] = values[r * columns + c]!;
  return out;
}

/** Releases a model's frozen arrays. */
export function disposeModel(scope: Scope): void {
  for (const { pretrained } of [...scope.points.linear]) tf.dispose([pretrained.kernel, pretrained.bias].flatMap((x) => (x instanceof tf.Tensor ? [x] : [])));
  for (const { pretrained } of scope.points.norm) tf.dispose([pretrained.gamma, pretrained.beta].flatMap((x) => (x instanceof tf.Tensor ? [x] : [])));
  for (const { pretrained } of scope.points.embedding) tf.dispose(pretrained.table instanceof tf.Tensor ? [pretrained.table] : []);
}
