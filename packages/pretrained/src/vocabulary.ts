import { readFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { CheckpointError } from '@espalier/core';
import { tokenizerJson, type Casing } from '@espalier/data';
import { z } from 'zod';
import { statIfThere } from './directory.ts';

export interface Vocabulary {
  readonly file: string;
  readonly text: string; // of a vocab.txt of uncased BERT, or of a tokenizer.json, which `wordPiece` reads alike
}

/** The vocabulary of a directory, where it has one: tokenizer.json, else vocab.txt. */
export async function vocabularyIn(directory: string): Promise<Vocabulary | undefined> {
  for (const name of ['tokenizer.json', 'vocab.txt']) {
    const file = join(directory, name);
    if ((await statIfThere(file))?.isFile()) return readVocabulary(file);
  }
  return undefined;
}

/**
 * A vocabulary's file. What a tokenizer_config.json beside a vocab.txt says of case and accents becomes part of the text,
 * which is then that of a tokenizer.json. @throws CheckpointError for a tokenizer_config.json that cannot be understood.
 */
export async function readVocabulary(file: string): Promise<Vocabulary> {
  const text = await readFile(file, 'utf8');
  if (text.trimStart().startsWith('{')) return { file, text };
  const { lowercase = true, stripAccents = null, spaceChinese = true } = await casingBeside(file);
  const uncased = lowercase && stripAccents !== false && spaceChinese;
  return { file, text: uncased ? text : tokenizerJson(text, file, { lowercase, stripAccents, spaceChinese }) };
}

const TokenizerConfig = z
  .looseObject({ do_lower_case: z.boolean().optional(), strip_accents: z.boolean().nullish(), tokenize_chinese_chars: z.boolean().optional() })
  .transform((c): Casing => ({ lowercase: c.do_lower_case, stripAccents: c.strip_accents, spaceChinese: c.tokenize_chinese_chars }));

async function casingBeside(vocabulary: string): Promise<Casing> {
  const file = join(dirname(vocabulary), 'tokenizer_config.json');
  if (!(await statIfThere(file))?.isFile()) return {};
  let json: unknown;
  try {
    json = JSON.parse(await readFile(file, 'utf8'));
  } catch (cause) {
    throw new CheckpointError(`${file} is not JSON: ${cause instanceof Error ? cause.message : String(cause)}`, { cause });
  }
  const parsed = TokenizerConfig.safeParse(json);
  if (!parsed.success) throw new CheckpointError(`${file}: ${parsed.error.issues.map((i) => `'${i.path.join('.') || 'top level'}': ${i.message}`).join('; ')}`);
  return parsed.data;
}
