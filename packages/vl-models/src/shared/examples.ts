/** One padded batch of question-image pairs as plain arrays, the same for every backbone. */
export interface VqaExamples {
  readonly ids: readonly string[]; // stable sample ids, e.g. 'train/17'
  readonly questions: Int32Array; // [B, S] word-piece ids without special tokens, 0 = padding
  readonly questionLength: number; // S
  readonly features: Float32Array; // [B, R, F], zero rows where there is no region
  readonly boxes: Float32Array; // [B, R, 4] x1 y1 x2 y2 in pixels
  readonly imageFeatures?: Float32Array; // [B, F] of the whole images, where the data have them for all
  readonly regionCounts: Int32Array; // [B]
  readonly regions: number; // R
  readonly featureSize: number; // F
  readonly imageSizes: Float32Array; // [B, 2] width, height in pixels
  readonly targets: Float32Array; // [B, A] soft scores in [0, 1]
  readonly answers: number; // A
}
