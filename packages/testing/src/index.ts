export { useCpu, useOnnx } from './backend.ts';
export { PEERS, testPlugin, type KitOptions, type TestApi } from './conformance.ts';
export { disposeInputs, padInputs, takeInputs, TINY_SIZES, tinyInputs, type InputOptions, type Lengths, type TinyInputs } from './inputs.ts';
export { distanceOf, toBeAllClose, toBeBitEqual, toDiffer, toLeakNothing, toRefuse, type Numbers, type Tolerance } from './matchers.ts';
export { adapter, scaler } from './peers.ts';
export type { Peer, Reasons, Traits } from './scene.ts';
export { memoryStore } from './store.ts';
export { drawn, tinyOneStream, tinyTwoStream, type TinyModel, type TinyOptions } from './tiny.ts';
export { gradientsOf, jitter, lossOf, snapshot, tinyLoss, train } from './training.ts';
