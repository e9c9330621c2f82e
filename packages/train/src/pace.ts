/** How fast steps go, smoothed: the last ten or so count. */
export interface Pace {
  readonly samplesPerSecond: number;
  readonly secondsPerStep: number;
  /** Takes one more step into account. */
  step(samples: number, seconds: number): void;
}

/** Exponential means with weight 0.1 for the newest; the first step counts fully. */
export function pace(): Pace {
  const mean = { samples: 0, seconds: 0, steps: 0 };
  return {
    get samplesPerSecond() {
      return mean.seconds > 0 ? mean.samples / mean.seconds : 0;
    },
    get secondsPerStep() {
      return mean.seconds;
    },
    step: (samples, seconds) => {
      const weight = mean.steps++ === 0 ? 1 : 0.1;
      mean.samples += weight * (samples - mean.samples);
      mean.seconds += weight * (seconds - mean.seconds);
    },
  };
}
