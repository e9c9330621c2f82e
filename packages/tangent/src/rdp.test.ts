import { readFileSync } from 'node:fs';
import { OptionsError, random } from '@espalier/core';
import { toRefuse } from '@espalier/testing';
import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { calibrate, classicEpsilonFrom, epsilonFrom, epsilonOf, ORDERS, rdpAccountant, renyi } from './rdp.ts';
import { poissonSample, replayableRandomness, secureRandomness } from './secure.ts';

const point = { q: z.number(), sigma: z.number() };
const G = z
  .object({
    rdpPerStep: z.array(z.object({ ...point, alpha: z.number(), rdp: z.number() })),
    epsilon: z.array(z.object({ ...point, steps: z.number(), delta: z.number(), epsOpacusOrders: z.number(), alphaOpacus: z.number(), epsIntOrders: z.number(), alphaInt: z.number(), epsClassicOpacusOrders: z.number() })),
    sigmaForEps: z.array(z.object({ q: z.number(), steps: z.number(), delta: z.number(), eps: z.number(), sigma: z.number() })),
    published: z.array(z.looseObject({ src: z.string(), q: z.number().optional(), sigma: z.number().optional(), steps: z.number().optional(), delta: z.number(), eps: z.number(), epsExact: z.number().optional(), alpha: z.number().optional(), rdpConst: z.number().optional() })),
  })
  .parse(JSON.parse(readFileSync(new URL('../fixtures/rdp.json', import.meta.url), 'utf8')));
const INTEGERS = [...Array.from({ length: 63 }, (_, i) => i + 2), 128, 256, 512, 1024];

it.each(G.rdpPerStep)('a step at q $q, sigma $sigma, order $alpha', ({ q, sigma, alpha, rdp }) => {
  expect(Math.abs(renyi(q, sigma, alpha) / rdp - 1)).toBeLessThan(1e-9);
});

it.each(G.epsilon)('epsilon of $steps steps at q $q, sigma $sigma, delta $delta', ({ q, sigma, steps, delta, ...expected }) => {
  const at = { rate: q, noiseMultiplier: sigma, count: steps };
  const best = epsilonOf(at, delta);
  expect(Math.abs(best.epsilon - expected.epsOpacusOrders)).toBeLessThan(1e-6);
  expect(best.order).toBeCloseTo(expected.alphaOpacus, 10);
  const whole = epsilonOf(at, delta, INTEGERS);
  expect(Math.abs(whole.epsilon - expected.epsIntOrders)).toBeLessThan(1e-6);
  expect(whole.order).toBe(expected.alphaInt);
  expect(Math.abs(classicEpsilonFrom((a) => steps * renyi(q, sigma, a), delta).epsilon - expected.epsClassicOpacusOrders)).toBeLessThan(1e-6);
});

it.each(G.published)('published: $src', ({ q, sigma, steps = 1, delta, eps, epsExact, rdpConst, src }) => {
  if (rdpConst !== undefined) {
    const found = epsilonFrom(() => rdpConst, delta, Array.from({ length: 31 }, (_, i) => i + 2));
    expect(found.epsilon).toBeCloseTo(eps, 9);
    expect(found.order).toBe(32);
  } else if (src.startsWith('opacus get_noise')) {
    // Their search stops within 0.01 of epsilon.
    expect(Math.abs(calibrate(eps, delta, { rate: q!, count: steps }) / sigma! - 1)).toBeLessThan(1e-3);
  } else {
    // Their list of orders begins at 1.25, which is the best of it where there is hardly any noise.
    const orders = sigma === 0.1 ? ORDERS.filter((a) => a > 1.2).concat(1.25) : ORDERS;
    const digits = Math.max(3, String(eps).split('.')[1]?.length ?? 0);
    const found = epsilonOf({ rate: q!, noiseMultiplier: sigma!, count: steps }, delta, orders).epsilon;
    expect(Math.abs(found - (epsExact ?? eps))).toBeLessThan(Math.max(1e-6, 0.6 * 10 ** -digits, 1e-11 * eps));
  }
});

it.each(G.sigmaForEps)('the noise for epsilon $eps at q $q in $steps steps', ({ q, steps, delta, eps, sigma }) => {
  const found = calibrate(eps, delta, { rate: q, count: steps });
  expect(Math.abs(found / sigma - 1)).toBeLessThan(2e-6);
  expect(epsilonOf({ rate: q, noiseMultiplier: found, count: steps }, delta).epsilon).toBeLessThanOrEqual(eps);
});

describe('the accountant', () => {
  it('grows with rate and steps, falls with noise', () => {
    const at = (rate: number, noiseMultiplier: number, count: number) => epsilonOf({ rate, noiseMultiplier, count }, 1e-5).epsilon;
    for (const [less, more] of [[at(0.01, 1, 100), at(0.02, 1, 100)], [at(0.01, 1, 100), at(0.01, 1, 200)], [at(0.01, 2, 100), at(0.01, 1, 100)]] as const) expect(less).toBeLessThan(more);
  });

  it('adds steps of all kinds, in any order, and goes on from its state', () => {
    const [a, b] = [rdpAccountant(), rdpAccountant()];
    for (let i = 0; i < 30; i++) a.step({ rate: 0.1, noiseMultiplier: 1 });
    a.step({ rate: 0.2, noiseMultiplier: 2 }, 7);
    b.step({ rate: 0.2, noiseMultiplier: 2 }, 7);
    const resumed = rdpAccountant(b.state());
    resumed.step({ rate: 0.1, noiseMultiplier: 1 }, 30);
    expect(a.state()).toEqual([{ rate: 0.1, noiseMultiplier: 1, count: 30 }, { rate: 0.2, noiseMultiplier: 2, count: 7 }]);
    expect(resumed.epsilon(1e-5).epsilon).toBeCloseTo(a.epsilon(1e-5).epsilon, 12);
    const { epsilon } = a.epsilon(1e-5);
    expect(a.delta(epsilon)).toBeCloseTo(1e-5, 12);
    expect(a.delta(epsilon + 1)).toBeLessThan(1e-5);
    expect(rdpAccountant().epsilon(1e-5).epsilon).toBe(0);
  });

  it('no sampling and no noise are what they are', async () => {
    expect(renyi(0, 1, 2)).toBe(0);
    expect(renyi(0.1, 0, 2)).toBe(Infinity);
    expect(renyi(1, 2, 10)).toBe(1.25);
    await toRefuse(() => rdpAccountant().step({ rate: 2, noiseMultiplier: 1 }), OptionsError, 'a rate in [0, 1]');
    await toRefuse(() => calibrate(0, 1e-5, { rate: 0.1, count: 1 }), OptionsError, 'epsilon 0');
  });
});

describe('randomness', () => {
  it('of the system is uniform, and normal in its first four moments', () => {
    const { uniform, normal } = secureRandomness();
    const us = Array.from({ length: 20_000 }, uniform);
    expect(Math.min(...us)).toBeGreaterThanOrEqual(0);
    expect(Math.max(...us)).toBeLessThan(1);
    expect(Math.abs(us.reduce((a, b) => a + b) / us.length - 0.5)).toBeLessThan(0.015);
    const zs = Array.from({ length: 40_000 }, normal);
    const moment = (k: number) => zs.reduce((sum, z) => sum + z ** k, 0) / zs.length;
    expect(Math.abs(moment(1))).toBeLessThan(0.03);
    expect(Math.abs(moment(2) - 1)).toBeLessThan(0.05);
    expect(Math.abs(moment(3))).toBeLessThan(0.15);
    expect(Math.abs(moment(4) - 3)).toBeLessThan(0.4);
    const again = secureRandomness();
    expect(Array.from({ length: 8 }, again.uniform)).not.toEqual(us.slice(0, 8));
  });

  it('chooses each sample by itself', () => {
    const source = replayableRandomness(random('poisson'));
    const sizes = Array.from({ length: 400 }, () => poissonSample(50, 0.1, source).length);
    const mean = sizes.reduce((a, b) => a + b) / sizes.length;
    expect(mean).toBeGreaterThan(4.5);
    expect(mean).toBeLessThan(5.5);
    // Of a binomial, not of batches of one size.
    expect(sizes.reduce((sum, n) => sum + (n - mean) ** 2, 0) / sizes.length).toBeGreaterThan(3.5);
    expect(poissonSample(5, 0, source)).toEqual([]);
    expect(poissonSample(3, 1, source)).toEqual([0, 1, 2]);
  });
});
