/** How a row is to be measured. */
export interface Settings {
  readonly backend: 'onnx' | 'tfjs-node';
  readonly threads: number | 'auto'; // of the onnx backend
  readonly rounds: number | undefined; // default: the row's own
}

/** One number of a row, with the interval that holds its median with 95 % confidence where it has one. */
export interface Finding {
  readonly what: string;
  readonly value: number;
  readonly unit: 'ratio' | 'ms' | 'GFLOPS' | 'MB';
  readonly low?: number;
  readonly high?: number;
  readonly min?: number; // the quietest round
  readonly rounds?: number;
  readonly goal?: { readonly atMost: number } | { readonly atLeast: number };
  readonly detail?: string;
  /** What a step works on, for a comparison with other programs. */
  readonly work?: { readonly parameters: number; readonly trainable: number; readonly macs: number };
}

/** A row of the report, measured in a process of its own. */
export interface Row {
  readonly name: string;
  readonly about: string;
  readonly backends: readonly Settings['backend'][];
  measure(settings: Settings): Promise<Finding[]>;
}
