import { EspalierError } from '@espalier/core';
import { codeOf } from './errors.ts';

/** What is used of the Hub's client, an optional peer dependency. */
export type Hub = Pick<typeof import('@huggingface/hub'), 'getHFHubCachePath' | 'getRepoFolderName' | 'HUB_URL' | 'modelInfo' | 'pathsInfo'>;

/** The Hub's client, found when it is needed. @throws EspalierError with the command that installs it. */
export async function loadHub(wanted: string, load: () => Promise<Hub> = () => import('@huggingface/hub')): Promise<Hub> {
  try {
    return await load();
  } catch (cause) {
    if (codeOf(cause) !== 'ERR_MODULE_NOT_FOUND') throw cause;
    throw new EspalierError(
      `fetchPretrained: '${wanted}' is on the Hugging Face Hub, whose client is not installed. Run\n  npm install @huggingface/hub@2.17.5\nor give a directory that holds the model's files.`,
      { cause },
    );
  }
}
