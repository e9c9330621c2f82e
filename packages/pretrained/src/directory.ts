import { readFile, stat } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { CheckpointError } from '@espalier/core';
import { codeOf } from './errors.ts';
import { BESIDE, isIndex, shardsOf, WEIGHTS } from './files.ts';

/** A model's files: names in a directory, configuration and tokenizer first, then the weights, an index before its shards. */
export interface Pretrained {
  readonly directory: string;
  readonly files: readonly string[];
  readonly commit?: string; // of a repository of the Hub
}

/** The file of weights, or the index of its shards; undefined when there is none. */
export function weightsOf({ directory, files }: Pretrained): string | undefined {
  const name = files.find((file) => !BESIDE.includes(file));
  return name === undefined ? undefined : join(directory, name);
}

/** What is at a path, links followed; undefined when nothing is. */
export async function statIfThere(path: string) {
  try {
    return await stat(path);
  } catch (e) {
    if (codeOf(e) === 'ENOENT' || codeOf(e) === 'ENOTDIR') return undefined;
    throw e;
  }
}

/** The files of a directory that Espalier reads. @throws CheckpointError naming the shards that an index names and that are not there. */
export async function filesIn(directory: string, { weights }: { readonly weights: boolean }): Promise<Pretrained> {
  return withWeights(directory, weights ? (await present(directory, WEIGHTS))[0] : undefined);
}

/** A file of weights, with what lies beside it. */
export const filesOf = (file: string): Promise<Pretrained> => withWeights(dirname(file), basename(file));

async function withWeights(directory: string, weights: string | undefined): Promise<Pretrained> {
  const beside = (await present(directory, BESIDE)).filter((name) => name !== weights);
  if (weights === undefined) return { directory, files: beside };
  if (!isIndex(weights)) return { directory, files: [...beside, weights] };
  const index = join(directory, weights);
  const shards = shardsOf(await readFile(index, 'utf8'), index);
  const there = new Set(await present(directory, shards));
  const missing = shards.filter((name) => !there.has(name));
  if (missing.length) throw new CheckpointError(`${directory} lacks ${missing.join(', ')}, which ${weights} names`);
  return { directory, files: [...beside, weights, ...shards] };
}

/** Those names that are files in a directory, in order. */
async function present(directory: string, names: readonly string[]): Promise<string[]> {
  const found = await Promise.all(names.map(async (name) => (await statIfThere(join(directory, name)))?.isFile()));
  return names.filter((_, i) => found[i]);
}
