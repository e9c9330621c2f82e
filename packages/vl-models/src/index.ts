export { cube, integerMatrix, matrix, reader, type NamedArray, type NamedArrays } from './arrays.ts';
export { backbone, backbones } from './backbones.ts';
export { coordinateEmbedding } from './coordinates.ts';
export type { VqaExamples } from './examples.ts';
export { lxmert, LxmertConfig, lxmertKey, type LxmertInputs } from './lxmert.ts';
export { additiveMask, openMask } from './masks.ts';
export { crossBlock, selfAttention, transformerBlock, type BlockConfig } from './transformer.ts';
export { vlBert, VlBertConfig, vlBertKey, vlBertLayout, type VlBertInputs } from './vl-bert.ts';
export type { Backbone, VqaModel } from './vqa-model.ts';
export {
  assertComplete, disposeModel, fromCheckpoint, initialised, initialTensor, naming, toCheckpoint, type KeyOf, type LoadReport,
} from './weights.ts';
