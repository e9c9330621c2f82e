import { EspalierError, type Store } from '@espalier/core';
import { adapter, memoryStore, scaler, toRefuse, useCpu } from '@espalier/testing';
import { beforeAll, expect, it } from 'vitest';
import { offset, tinyTraining } from '../fixtures/tiny-task.ts';
import { CLOCK, composition, METRICS, pluginOf, registeredPlugins, registerPlugin, servicesOf, STORE, token } from './container.ts';
import { fit } from './fit.ts';
import { sgd } from './methods.ts';
import type { MetricSink } from './metrics.ts';

beforeAll(useCpu);

it('tokens of equal names are different services', () => {
  const container = composition();
  const [a, b] = [token<number>('n'), token<number>('n')];
  container.register(a, { useValue: 1 });
  container.register(b, { useFactory: () => 2 });
  expect([container.resolve(a), container.resolve(b)]).toEqual([1, 2]);
});

it('two applications share nothing; a run inherits from its application and may replace', () => {
  const [one, other] = [composition(), composition()];
  const store: Store = memoryStore();
  one.register(STORE, { useValue: store });
  const run = one.createChildContainer();
  run.register(CLOCK, { useValue: () => 7 });
  expect(run.resolve(STORE)).toBe(store);
  expect(other.isRegistered(STORE, true)).toBe(false);
  expect(run.resolve(CLOCK)()).toBe(7);
  expect(one.resolve(CLOCK)()).not.toBe(7);
});

it('finds plugins by their method, in a run too, before any package', async () => {
  const container = composition();
  expect(registeredPlugins(container)).toEqual([]);
  registerPlugin(container, scaler);
  registerPlugin(container, adapter);
  registerPlugin(container, adapter);
  const run = container.createChildContainer();
  expect(registeredPlugins(run).map((f) => f.method)).toEqual(['scaler', 'adapter']);
  expect(await pluginOf(run, 'adapter')).toBe(adapter);
  expect(await pluginOf(run, '@espalier/scaler')).toBe(scaler);
  await toRefuse(() => pluginOf(run, 'scalar'), EspalierError, "no plugin 'scalar'", "Did you mean 'scaler'");
});

it('refuses what is no plugin factory, and two of one name', async () => {
  const container = composition();
  registerPlugin(container, offset);
  await toRefuse(() => registerPlugin(container, { method: 'x', version: '1' }), EspalierError, "'x' is no plugin factory");
  const other = Object.assign(() => offset(), { method: 'offset', version: '9.9.9', schema: offset.schema });
  await toRefuse(() => registerPlugin(container, other), EspalierError, "already a plugin 'offset'");
});

it('gives fit its clock and metric sink', async () => {
  const written: unknown[] = [];
  const sink: MetricSink = {
    open: () => Promise.resolve(),
    write: (record) => Promise.resolve(void written.push(record)),
    flush: () => Promise.resolve(),
    close: () => Promise.resolve(),
  };
  const ticks = { now: 0 };
  const container = composition();
  expect(Object.keys(servicesOf(container))).toEqual(['clock']);
  container.register(METRICS, { useValue: sink });
  container.register(CLOCK, { useValue: () => (ticks.now += 1000) });
  const t = tinyTraining();
  const summary = await fit(t.adapted, t.task, {
    ...servicesOf(container), maxSteps: 2, optimisers: { default: { method: sgd(), rate: 1e-3 }, policy: { method: sgd(), rate: 1e-3 } },
  }).done;
  expect(written).toHaveLength(2);
  expect(Number.isInteger(summary.seconds)).toBe(true);
  t.dispose();
});
