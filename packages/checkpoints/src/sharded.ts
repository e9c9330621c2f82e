import { CheckpointError, elementsOf, parseJsonObject, storedSize } from '@espalier/core';
import { z } from 'zod';
import type { ByteSource } from './byte-source.ts';
import type { Checkpoint, CheckpointFormat, CheckpointTensor } from './checkpoint.ts';
import { openCheckpoint } from './open.ts';

const PLAIN = /^\w[\w.-]*$/; // a file beside the index: no folder, no '..'

/**
 * Opens the shards that `model.safetensors.index.json` (or `pytorch_model.bin.index.json`) names, each once, as one checkpoint. `open` is given plain file
 * names. Index and shards must agree: every tensor in the shard it is listed for, none that is not listed, and
 * `metadata.total_size`, where given, the sum of their bytes. @throws CheckpointError; opened files are then closed.
 */
export async function openSharded(index: string, open: (file: string) => Promise<ByteSource>, name = 'model.safetensors.index.json'): Promise<Checkpoint> {
  const { weightMap, totalSize } = parseIndex(index, name);
  const tensors = new Map<string, CheckpointTensor>();
  const metadata = new Map<string, string>();
  const sources: ByteSource[] = [];
  const formats = new Set<CheckpointFormat>();
  const close = async () => {
    for (const result of await Promise.allSettled(sources.map((source) => source.close()))) if (result.status === 'rejected') throw result.reason;
  };
  try {
    for (const file of [...new Set(weightMap.values())].sort()) {
      const source = await open(file);
      sources.push(source);
      const shard = await openCheckpoint(source);
      formats.add(shard.format);
      for (const [key, tensor] of shard.tensors) {
        const listed = weightMap.get(key);
        if (listed !== file)
          throw new CheckpointError(`${source.name}: holds '${key}', which ${name} ${listed === undefined ? 'does not list' : `lists in ${listed}`}; are the files of one download?`);
        tensors.set(key, tensor);
      }
      for (const [key, text] of Object.entries(shard.metadata)) metadata.set(key, text);
    }
    for (const [key, file] of weightMap)
      if (!tensors.has(key)) throw new CheckpointError(`${name}: lists '${key}' in ${file}, which does not hold it; are the files of one download?`);
    const total = [...tensors.values()].reduce((sum, { dtype, shape }) => sum + (elementsOf(shape) ?? NaN) * storedSize(dtype), 0);
    if (totalSize !== undefined && totalSize !== total)
      throw new CheckpointError(`${name}: metadata.total_size is ${totalSize}, the tensors of its shards have ${total} bytes; are the files of one download?`);
    const [format = 'safetensors', other] = formats;
    if (other !== undefined) throw new CheckpointError(`${name}: its shards are of the formats ${[...formats].join(' and ')}; are the files of one download?`);
    return { name, format, tensors, metadata: Object.fromEntries(metadata), close };
  } catch (e) {
    await Promise.allSettled(sources.map((source) => source.close()));
    throw e;
  }
}

const IndexMetadata = z.looseObject({ total_size: z.int().nonnegative().optional() });

function parseIndex(index: string, name: string): { weightMap: ReadonlyMap<string, string>; totalSize: number | undefined } {
  const fail = (what: string): never => {
    throw new CheckpointError(`${name}: ${what}. The index of a sharded model is {"metadata": {...}, "weight_map": {tensor: file}}.`);
  };
  const read = (): Map<string, unknown> => {
    try {
      return parseJsonObject(index);
    } catch (e) {
      return fail(`no JSON object (${e instanceof Error ? e.message : String(e)})`);
    }
  };
  const json = read();
  const map = json.get('weight_map');
  if (typeof map !== 'object' || map === null || Array.isArray(map)) return fail('weight_map is missing');
  const weightMap = new Map<string, string>();
  for (const [key, file] of Object.entries(map)) {
    if (typeof file !== 'string' || !PLAIN.test(file)) return fail(`weight_map['${key}'] is ${JSON.stringify(file)}, expected the plain name of a file beside the index`);
    weightMap.set(key, file);
  }
  if (weightMap.size === 0) return fail('weight_map is empty');
  const metadata = IndexMetadata.safeParse(json.get('metadata') ?? {});
  return { weightMap, totalSize: metadata.success ? metadata.data.total_size : fail('metadata.total_size is no count of bytes') };
}
