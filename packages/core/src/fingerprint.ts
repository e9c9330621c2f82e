import { sha256 } from '@noble/hashes/sha2.js';
import { bytesToHex } from '@noble/hashes/utils.js';
import { weightsOf, type Scope } from './scope.ts';
import { primal } from './value.ts';
import { entriesOf } from './weights.ts';

/** SHA-256 over the paths, shapes and float32 bytes of all frozen arrays of a model, in the order of their paths. */
export async function fingerprint(scope: Scope): Promise<string> {
  const hash = sha256.create();
  const encoder = new TextEncoder();
  const arrays = weightsOf(scope)
    .flatMap((at) => entriesOf(at.pretrained).map(([part, x]) => ({ path: `${at.path}.${part}`, tensor: primal(x) })))
    .sort((a, b) => (a.path < b.path ? -1 : 1));
  for (const { path, tensor } of arrays) {
    hash.update(encoder.encode(`${path}[${tensor.shape.join(',')}]`));
    const values = await tensor.data<'float32'>();
    hash.update(new Uint8Array(values.buffer, values.byteOffset, values.byteLength));
  }
  return bytesToHex(hash.digest());
}
