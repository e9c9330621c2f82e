import { OptionsError } from '@espalier/core';

/** 1.1, 1.2, .. 10.9, 12, 13, .. 63: the orders at which Renyi divergences are kept. */
export const ORDERS: readonly number[] = [...Array.from({ length: 99 }, (_, i) => (11 + i) / 10), ...Array.from({ length: 52 }, (_, i) => 12 + i)];

/** T steps at sampling rate q with noise multiplier sigma. */
export interface PrivateSteps {
  readonly rate: number; // q, in [0, 1]
  readonly noiseMultiplier: number; // sigma, noise over clip
  readonly count: number; // T
}

/**
 * Renyi divergence of order alpha of one step of the Poisson-subsampled Gaussian mechanism, add or remove one sample:
 * log A / (alpha - 1), A = E over z ~ N(0, sigma^2) of ((1 - q) + q exp((2 z - 1) / (2 sigma^2)))^alpha.
 * Mironov, Talwar and Zhang 2019, arXiv 1908.10530; integer orders by their sum, others by a trapezoid of the integral, which
 * converges exponentially.
 */
export function renyi(rate: number, noiseMultiplier: number, order: number): number {
  if (rate === 0) return 0;
  if (noiseMultiplier === 0) return Infinity;
  if (rate === 1) return order / (2 * noiseMultiplier ** 2);
  return (Number.isInteger(order) ? logMomentInteger : logMomentFractional)(rate, noiseMultiplier, order) / (order - 1);
}

/** A - 1 = sum over k >= 2 of C(alpha, k) (1 - q)^(alpha - k) q^k (exp((k^2 - k) / (2 sigma^2)) - 1): every term is positive, so none is lost. */
function logMomentInteger(q: number, sigma: number, alpha: number): number {
  let logBinomial = 0;
  let total = -Infinity;
  for (let k = 1; k <= alpha; k++) {
    logBinomial += Math.log((alpha - k + 1) / k);
    if (k < 2) continue;
    const power = (k * k - k) / (2 * sigma * sigma);
    const logOfRest = power + Math.log1p(-Math.exp(-power)); // log(exp(power) - 1)
    total = logAddExp(total, logBinomial + (alpha - k) * Math.log1p(-q) + k * Math.log(q) + logOfRest);
  }
  return logAddExp(0, total);
}

function logMomentFractional(q: number, sigma: number, alpha: number): number {
  const width = sigma / 16;
  const steps = Math.ceil((alpha + 28 * sigma) / width);
  const at = (i: number) => -14 * sigma + i * width;
  const logDensity = (z: number) => -(z * z) / (2 * sigma * sigma) - Math.log(sigma * Math.sqrt(2 * Math.PI)) + Math.log(width);
  const exponent = (z: number) => (2 * z - 1) / (2 * sigma * sigma);
  let total = -Infinity;
  for (let i = 0; i <= steps; i++) {
    const z = at(i);
    total = logAddExp(total, logDensity(z) + alpha * logAddExp(Math.log1p(-q), Math.log(q) + exponent(z)));
  }
  if (total > 0.1) return total;
  // Close to one, A - 1 is integrated itself: with x = q (exp(..) - 1), whose mean is zero, of (1 + x)^alpha - 1 - alpha x.
  let rest = 0;
  for (let i = 0; i <= steps; i++) {
    const z = at(i);
    const x = q * Math.expm1(exponent(z));
    rest += Math.exp(logDensity(z)) * (Math.abs(x) < 1e-3 ? beyondLinear(x, alpha) : Math.exp(alpha * Math.log1p(x)) - 1 - alpha * x);
  }
  return Math.log1p(rest);
}

/** (1 + x)^alpha - 1 - alpha x by its series. */
function beyondLinear(x: number, alpha: number): number {
  let term = alpha * x;
  let sum = 0;
  for (let k = 2; k <= 9; k++) {
    term *= ((alpha - k + 1) / k) * x;
    sum += term;
  }
  return sum;
}

function logAddExp(a: number, b: number): number {
  const [most, least] = a > b ? [a, b] : [b, a];
  return most === -Infinity ? -Infinity : most + Math.log1p(Math.exp(least - most));
}

/** An epsilon and the order that gives it. */
export interface Epsilon {
  readonly epsilon: number;
  readonly order: number;
}

/** min over orders of rho + log((alpha - 1) / alpha) - (log delta + log alpha) / (alpha - 1), at least 0 (arXiv 2004.00010). */
export function epsilonFrom(rho: (order: number) => number, delta: number, orders: readonly number[] = ORDERS): Epsilon {
  return least(orders, (a) => rho(a) + Math.log((a - 1) / a) - (Math.log(delta) + Math.log(a)) / (a - 1));
}

/** The looser conversion min over orders of rho + log(1 / delta) / (alpha - 1), arXiv 1702.07476. */
export const classicEpsilonFrom = (rho: (order: number) => number, delta: number, orders: readonly number[] = ORDERS): Epsilon =>
  least(orders, (a) => rho(a) + Math.log(1 / delta) / (a - 1));

function least(orders: readonly number[], of: (order: number) => number): Epsilon {
  const all = orders.map((order) => ({ epsilon: of(order), order }));
  const best = all.reduce((a, b) => (b.epsilon < a.epsilon ? b : a));
  return { epsilon: Math.max(0, best.epsilon), order: best.order };
}

/** Adds up what steps cost, exactly as they were made. */
export interface RdpAccountant {
  step(steps: Omit<PrivateSteps, 'count'>, count?: number): void;
  rho(order: number): number;
  epsilon(delta: number, orders?: readonly number[]): Epsilon;
  /** min over orders of exp((alpha - 1) (rho - epsilon + log(1 - 1 / alpha))) / alpha, at most 1. */
  delta(epsilon: number, orders?: readonly number[]): number;
  /** The history, to be given to another accountant. */
  state(): readonly PrivateSteps[];
}

export function rdpAccountant(history: readonly PrivateSteps[] = []): RdpAccountant {
  const held: PrivateSteps[] = [...history];
  const known = new Map<string, number>();
  const renyiOf = ({ rate, noiseMultiplier }: PrivateSteps, order: number) => {
    const key = `${rate} ${noiseMultiplier} ${order}`;
    const found = known.get(key) ?? renyi(rate, noiseMultiplier, order);
    known.set(key, found);
    return found;
  };
  const rho = (order: number) => held.reduce((sum, s) => sum + s.count * renyiOf(s, order), 0);
  return {
    step: ({ rate, noiseMultiplier }, count = 1) => {
      if (!(rate >= 0 && rate <= 1) || !(noiseMultiplier >= 0) || !Number.isInteger(count) || count < 0)
        throw new OptionsError(`accountant: rate ${rate}, noiseMultiplier ${noiseMultiplier}, count ${count}: expected a rate in [0, 1], a multiplier of at least 0 and a whole count`);
      const last = held.at(-1);
      if (last?.rate === rate && last.noiseMultiplier === noiseMultiplier) held[held.length - 1] = { ...last, count: last.count + count };
      else held.push({ rate, noiseMultiplier, count });
    },
    rho,
    epsilon: (delta, orders) => (held.every((s) => s.count === 0) ? { epsilon: 0, order: 2 } : epsilonFrom(rho, delta, orders)),
    delta: (epsilon, orders = ORDERS) => Math.min(1, ...orders.map((a) => Math.exp((a - 1) * (rho(a) - epsilon + Math.log(1 - 1 / a))) / a)),
    state: () => [...held],
  };
}

/** The epsilon of T equal steps. */
export function epsilonOf({ rate, noiseMultiplier, count }: PrivateSteps, delta: number, orders?: readonly number[]): Epsilon {
  const accountant = rdpAccountant();
  accountant.step({ rate, noiseMultiplier }, count);
  return accountant.epsilon(delta, orders);
}

/**
 * The least noise multiplier that keeps T steps within an epsilon, from above: epsilon(sigma) <= target, by bisection to a
 * millionth. @throws OptionsError for an epsilon that is not positive.
 */
export function calibrate(epsilon: number, delta: number, { rate, count }: Omit<PrivateSteps, 'noiseMultiplier'>, orders?: readonly number[]): number {
  if (!(epsilon > 0)) throw new OptionsError(`epsilon ${epsilon}: expected a positive number`);
  const within = (noiseMultiplier: number) => epsilonOf({ rate, noiseMultiplier, count }, delta, orders).epsilon <= epsilon;
  let [low, high] = [0, 1];
  while (!within(high)) {
    [low, high] = [high, 2 * high];
    if (high > 1e8) throw new OptionsError(`no noise keeps ${count} steps at rate ${rate} within epsilon ${epsilon} at delta ${delta} by these orders`);
  }
  while (high - low > 1e-7 * high) {
    const middle = (low + high) / 2;
    if (within(middle)) high = middle;
    else low = middle;
  }
  return high;
}
