import { CheckpointError } from '@espalier/core';
import { filesIn, filesOf, statIfThere, type Pretrained } from './directory.ts';
import { fetchRepository, isName } from './fetch-repository.ts';
import { settingsOf, type FetchOptions } from './options.ts';

/**
 * The files of a pretrained model: of a directory or a file of weights as it lies, or of 'owner/name' on the Hugging Face
 * Hub. A path that exists goes before an id. @throws what `fetchRepository` throws.
 */
export async function fetchPretrained(from: string, options: FetchOptions = {}): Promise<Pretrained> {
  const settings = settingsOf(options);
  settings.signal?.throwIfAborted();
  const found = await statIfThere(from);
  if (found?.isDirectory()) return filesIn(from, settings);
  if (found) return filesOf(from);
  if (!isName(from)) throw new CheckpointError(`fetchPretrained: '${from}' is neither a directory or file here nor an id of the Hub, which is 'owner/name' such as 'unc-nlp/lxmert-base-uncased'`);
  return fetchRepository(from, options);
}
