export { OnnxBackend, type BackendSettings } from './backend.ts';
export { capture, type Captured, type CaptureOptions } from './capture.ts';
export { CaptureError, OnnxBackendError, RaggedError } from './errors.ts';
export { emitters } from './kernels/table.ts';
export { registerOnnx, type OnnxOptions } from './register.ts';
export type { Mode, Statistics } from './recorder.ts';
