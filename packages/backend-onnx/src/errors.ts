/** Something the ONNX backend cannot do: says which kernel, on what, and what to try instead. */
export class OnnxBackendError extends Error {
  override name = 'OnnxBackendError';
}

/** A step that cannot be recorded and replayed. */
export class CaptureError extends OnnxBackendError {
  override name = 'CaptureError';
}

/** Samples of a batch went different ways, and an operation there mixes them. */
export class RaggedError extends OnnxBackendError {
  override name = 'RaggedError';
}

/** Where to turn when this backend fails. */
export const NEXT_BACKEND = "Another backend may do it: ESPALIER_BACKEND=wasm, selectBackend('wasm'), or tf.setBackend('cpu')";
