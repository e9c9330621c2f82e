import { CheckpointError } from '@espalier/core';
import { wordPiece, type WordPiece } from '@espalier/data';
import { loadModel, type Backbone, type LoadOptions, type LoadReport, type VqaModel } from '@espalier/vl-models';
import { fetchPretrained } from './fetch-pretrained.ts';
import { findModel, type ModelChoice } from './find-model.ts';
import { openWeights } from './open-weights.ts';
import type { FetchOptions } from './options.ts';
import { withVocabulary } from './with-vocabulary.ts';

/** Where files come from, what model they are of, and in `load` how its arrays are taken. */
export interface PretrainedOptions extends Omit<FetchOptions, 'weights'>, ModelChoice {
  readonly load?: Omit<LoadOptions, 'init' | 'signal'>; // head: 'stored-or-drawn' unless given
}

export interface PretrainedModel {
  readonly model: VqaModel<unknown>;
  readonly kind: Backbone;
  readonly config: Readonly<Record<string, unknown>>; // its special tokens are those of the tokenizer
  readonly report: LoadReport;
  readonly tokenizer: WordPiece | undefined; // where its files have a vocabulary
  readonly directory: string;
  readonly commit?: string; // of a repository
}

/**
 * A model with its weights and tokenizer, from a directory, a file of weights, or 'owner/name' on the Hugging Face Hub. A
 * checkpoint without answer head gets a drawn one unless `load.head` says otherwise; a BERT starts the backbone that is named.
 * @throws CheckpointError and HubError; no part of a model is then left behind.
 */
export async function fromPretrained(from: string, options: PretrainedOptions = {}): Promise<PretrainedModel> {
  const { backbone, size, config: changes, load, ...fetching } = options;
  const files = await fetchPretrained(from, fetching);
  const found = await findModel(files, { backbone, size, config: changes });
  const { kind, init, weights, vocabulary } = found;
  if (weights === undefined) throw new CheckpointError(`${files.directory} has ${files.files.join(', ') || 'no files that are known'} but no weights: model.safetensors, pytorch_model.bin or an index of shards. Give the file itself where it has another name.`);
  const tokenizer = vocabulary && wordPiece(vocabulary.text, vocabulary.file);
  const config = tokenizer ? { ...withVocabulary(found, tokenizer), ...changes } : found.config;
  const checkpoint = await openWeights(weights);
  try {
    const { signal } = options;
    const loaded = await loadModel(kind, config, checkpoint, { head: 'stored-or-drawn', ...load, init, ...(signal && { signal }) });
    return { ...loaded, kind, config, tokenizer, directory: files.directory, ...(files.commit !== undefined && { commit: files.commit }) };
  } finally {
    await checkpoint.close();
  }
}
