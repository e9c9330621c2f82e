/** Something the ONNX backend cannot do: says which kernel, on what, and what to try instead. */
export class OnnxBackendError extends Error {
  override name = 'OnnxBackendError';
}

/** A step that cannot be recorded and replayed. */
export class CaptureError extends OnnxBackendError {
  override name = 'CaptureError';
}

/** Where to turn when this backend fails. */
export const NEXT_BACKEND = "Another backend may do it: ESPALIER_BACKEND=wasm, selectBackend('wasm'), or tf.setBackend('cpu')";
