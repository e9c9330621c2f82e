import { sha256 } from '@noble/hashes/sha2.js';
import { bytesToHex } from '@noble/hashes/utils.js';
import type { Adapted } from './adapt.ts';

/** SHA-256 of what a frozen part computes with: the model's arrays, and options and variables of plugins that do not learn. */
export async function saltOf<I>(adapted: Adapted<I>): Promise<string> {
  const hash = sha256.create();
  const encoder = new TextEncoder();
  hash.update(encoder.encode(`${adapted.model.name} ${await adapted.fingerprint()}`));
  for (const { instance, name, version, options, trainable } of adapted.plugins) {
    if (trainable) continue;
    hash.update(encoder.encode(JSON.stringify([instance, name, version, options])));
    for (const p of adapted.parameters.values()) {
      if (p.instance !== instance) continue;
      const values = await p.variable.data<'float32'>();
      hash.update(encoder.encode(`${p.path}[${p.variable.shape.join()}]`));
      hash.update(new Uint8Array(values.buffer, values.byteOffset, values.byteLength));
    }
  }
  return bytesToHex(hash.digest());
}
