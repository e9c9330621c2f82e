/** tau of a step: constant, or from `from` to `to` over `steps` steps and constant afterwards. */
export type Temperature = number | { readonly from: number; readonly to: number; readonly steps: number; readonly shape: 'linear' | 'cosine' | 'exponential' };

/**
 * The temperature at a step. linear: from + (to - from) t; cosine: to + (from - to) (1 + cos pi t) / 2; exponential:
 * from (to / from)^t; t = min(1, step / steps).
 */
export function temperatureAt(temperature: Temperature, step: number): number {
  if (typeof temperature === 'number') return temperature;
  const { from, to, steps, shape } = temperature;
  const t = Math.min(1, step / steps);
  if (shape === 'linear') return from + (to - from) * t;
  if (shape === 'cosine') return to + ((from - to) * (1 + Math.cos(Math.PI * t))) / 2;
  return from * (to / from) ** t;
}
