import { expect, it } from 'vitest';
import { UsageError } from './errors.ts';
import { OPTIMISERS, optimiserNamed } from './optimisers.ts';

const chainOf = (...args: Parameters<typeof optimiserNamed>) => optimiserNamed(...args).method.chain.map((t) => ({ name: t.name, ...t.settings([]) }));

it('makes every optimiser that it names, with the schedule of its reference', () => {
  expect(OPTIMISERS.map((name) => [optimiserNamed(name).method.name, optimiserNamed(name).progress])).toEqual([
    ['adamW', 'moving'], ['bertAdam', 'before'], ['vlBertAdamW', 'after'], ['adam', 'moving'], ['sgd', 'moving'],
  ]);
});

it('has the weight decay of the reference unless one is given', () => {
  expect(chainOf('adamw')).toContainEqual({ name: 'decay', weightDecay: 0.01, exempt: [] });
  expect(chainOf('bert-adam')).toContainEqual({ name: 'decay', weightDecay: 0.01, exempt: [] });
  expect(chainOf('vl-bert-adamw')).toContainEqual({ name: 'decay-moved', weightDecay: 1e-4, exempt: [] });
  expect(chainOf('sgd')).toEqual([{ name: 'rate' }]);
  for (const name of ['adamw', 'bert-adam', 'vl-bert-adamw', 'sgd'] as const) expect(chainOf(name, 0.3)).toContainEqual(expect.objectContaining({ weightDecay: 0.3 }));
});

it('refuses a weight decay where there is none', () => {
  expect(() => optimiserNamed('adam', 0.1)).toThrow(UsageError);
  expect(() => optimiserNamed('adam', 0.1)).toThrow(/--weight-decay is 0\.1\. Use adamw/);
  expect(optimiserNamed('adam', 0).method.name).toBe('adam');
});
