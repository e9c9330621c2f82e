export type { Pretrained } from './directory.ts';
export { HubError } from './errors.ts';
export { fetchPretrained } from './fetch-pretrained.ts';
export { fileSource } from './file-source.ts';
export type { FetchOptions, Progress } from './options.ts';
