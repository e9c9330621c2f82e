import { UsageError } from './errors.ts';

/** @throws UsageError for a model of pairs of images, which the command line has no data for. */
export function requireOneImage(config: Readonly<Record<string, unknown>>, by: string): void {
  if (config['head'] === 'pair')
    throw new UsageError(`${by} answers about pairs of images (head 'pair', as NLVR2 asks), the command line asks about one image at a time. Train and score it in a program: fit of @espalier/train with pairBatches of @espalier/data and lxmertPairs of @espalier/vl-models; see docs/vqa-data.md.`);
}
