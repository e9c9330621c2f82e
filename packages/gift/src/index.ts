export { clusterMaps, type ClusterMap, type ClusterMapOptions, type Scores } from './cluster-maps.ts';
export { gift } from './gift.ts';
export { unmerge, type UnmergeOptions } from './unmerge.ts';
