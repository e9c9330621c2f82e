import 'reflect-metadata';
import { EspalierError, type PluginFactory, type Store } from '@espalier/core';
import { container as root, type DependencyContainer, type InjectionToken } from 'tsyringe';
import type { MetricSink } from './metrics.ts';
import type { FitOptions } from './options.ts';
import { isPluginFactory, resolvePlugin, type ResolveOptions } from './plugin-package.ts';

/** A typed name for a service. */
export const token = <T>(name: string): InjectionToken<T> => Symbol(name);

/** Milliseconds from any origin. */
export type Clock = () => number;

/** Plugin factories known without a package; any number of them. */
export const PLUGIN: InjectionToken<PluginFactory> = token('plugin');
/** The clock that paces and times are read from. */
export const CLOCK: InjectionToken<Clock> = token('clock');
/** Where the records of a run go. */
export const METRICS: InjectionToken<MetricSink> = token('metrics');
/** Where an adapted model is saved to or loaded from. */
export const STORE: InjectionToken<Store> = token('store');

/**
 * The composition root of an application: a container of its own, with the system's clock. Services are registered with
 * factories or values, so no decorator or bundler setting is needed. Give each run `createChildContainer()` of it.
 */
export function composition(): DependencyContainer {
  const own = root.createChildContainer();
  own.register(CLOCK, { useValue: () => performance.now() });
  return own;
}

/** Makes a plugin known by its method's name. @throws EspalierError when it is no plugin factory, or another has that name. */
export function registerPlugin(container: DependencyContainer, factory: Pick<PluginFactory, 'method' | 'version'>): void {
  if (!isPluginFactory(factory)) throw new EspalierError(`'${factory.method}' is no plugin factory: expected what definePlugin gives`);
  const before = registeredPlugins(container).find((f) => f.method === factory.method);
  if (before === factory) return;
  if (before) throw new EspalierError(`there is already a plugin '${factory.method}' (${before.version}): two factories cannot share a name`);
  container.register<PluginFactory>(PLUGIN, { useValue: factory });
}

/** The plugins known to a container, or to the nearest of its parents that has any. */
export const registeredPlugins = (container: DependencyContainer): readonly PluginFactory[] =>
  container.isRegistered(PLUGIN, true) ? container.resolveAll(PLUGIN) : [];

/** `resolvePlugin` with the container's plugins. */
export const pluginOf = (container: DependencyContainer, name: string, options: Omit<ResolveOptions, 'registered'> = {}): Promise<PluginFactory> =>
  resolvePlugin(name, { ...options, registered: registeredPlugins(container) });

/** What `fit` takes from a container: its clock and, where there is one, its metric sink. */
export const servicesOf = (container: DependencyContainer): Pick<FitOptions, 'clock' | 'metrics'> => ({
  clock: container.resolve(CLOCK),
  ...(container.isRegistered(METRICS, true) && { metrics: container.resolve(METRICS) }),
});
