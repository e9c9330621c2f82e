export { componentOf, readComponent, setTangents, writeComponent, type Component, type ComponentOptions, type HostArray, type ShardRecord } from './component.ts';
export { add, compose, influence, remove, type ComposeOptions, type Composition, type RemoveOptions, type Weights } from './composition.ts';
export { differences, identityOf, type Identity } from './identity.ts';
export { componentLogits, type ComponentLogits } from './logits.ts';
export { parallel, type PrivacyRecord } from './privacy-record.ts';
export { regularise } from './regulariser.ts';
export { readComposition, saveComposition } from './saved.ts';
export { tangent } from './tangent.ts';
