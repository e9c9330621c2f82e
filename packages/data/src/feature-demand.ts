import { DataError } from './errors.ts';

/** How wide a region's feature a backbone takes, and which setting says so. */
export interface FeatureDemand {
  readonly size: number;
  readonly by: string; // 'lxmert base (visual_feat_dim)'
}

/** @throws DataError when `found` numbers per region are not what the backbone takes. `where` names the file or featuriser. */
export function checkFeatureSize(found: number, demand: FeatureDemand | undefined, where: string, remedy: string): void {
  if (demand && found !== demand.size)
    throw new DataError(`${where}: ${found} numbers per region, but ${demand.by} takes ${demand.size}. ${remedy}`);
}
