import type * as tf from '@tensorflow/tfjs';
import { sha256 } from '@noble/hashes/sha2.js';
import { bytesToHex } from '@noble/hashes/utils.js';
import { weightsOf, type Scope } from './scope.ts';
import { primal } from './value.ts';
import { entriesOf } from './weights.ts';

/** SHA-256 over the paths, shapes and float32 bytes of all frozen arrays of a model, in the order of their paths. */
export const fingerprint = (scope: Scope): Promise<string> =>
  digest(weightsOf(scope).flatMap((at) => entriesOf(at.pretrained).map(([part, x]) => [`${at.path}.${part}`, primal(x)] as const)));

/** SHA-256 over the names, shapes and float32 bytes of arrays, in the order of their names. */
export async function digest(named: readonly (readonly [name: string, array: tf.Tensor])[]): Promise<string> {
  const hash = sha256.create();
  const encoder = new TextEncoder();
  for (const [name, tensor] of [...named].sort(([a], [b]) => (a < b ? -1 : 1))) {
    hash.update(encoder.encode(`${name}[${tensor.shape.join(',')}]`));
    const values = await tensor.data<'float32'>();
    hash.update(new Uint8Array(values.buffer, values.byteOffset, values.byteLength));
  }
  return bytesToHex(hash.digest());
}

/** SHA-256 of a text, in hex. */
export const digestText = (text: string): string => bytesToHex(sha256(new TextEncoder().encode(text)));
