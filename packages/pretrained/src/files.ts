import { CheckpointError } from '@espalier/core';
import { z } from 'zod';

/** Files beside the weights, in the order in which they are fetched. */
export const BESIDE: readonly string[] = ['config.json', 'tokenizer.json', 'tokenizer_config.json', 'vocab.txt'];

/** Files that hold or list weights, the preferred first. */
export const WEIGHTS: readonly string[] = ['model.safetensors', 'model.safetensors.index.json', 'pytorch_model.bin', 'pytorch_model.bin.index.json'];

export const isIndex = (file: string): boolean => file.endsWith('.index.json');

const Index = z.looseObject({ weight_map: z.record(z.string(), z.string()) });

/** The files that an index of shards names, each once, in order. @throws CheckpointError for what is no index and for a name that is no plain file name. */
export function shardsOf(text: string, file: string): string[] {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (cause) {
    throw new CheckpointError(`${file} is no JSON. Get it again.`, { cause });
  }
  const index = Index.safeParse(json);
  if (!index.success) throw new CheckpointError(`${file} is no index of shards: expected { "weight_map": { "tensor": "file" } }`);
  const names = [...new Set(Object.values(index.data.weight_map))].sort();
  if (names.length === 0) throw new CheckpointError(`${file} names no file in its weight_map`);
  // A name becomes a path in the cache: what could lead out of it is refused.
  for (const name of names) if (!/^\w[\w.-]*$/.test(name)) throw new CheckpointError(`${file} names '${name}', expected a plain file name such as 'model-00001-of-00002.safetensors'. Do not use this repository.`);
  return names;
}
