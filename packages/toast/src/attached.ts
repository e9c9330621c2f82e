import { didYouMean, EspalierError, type Adapted, type Plugin } from '@espalier/core';
import { layoutOf, type Layout } from './layout.ts';
import { options, settingsOf, type Settings } from './options.ts';

export interface AttachedToast {
  readonly plugin: Plugin;
  readonly settings: Settings;
  readonly layout: Layout;
}

/** A TOAST that is on a model. @throws EspalierError when there is no such instance. */
export function attachedTo<I>(adapted: Adapted<I>, instance: string): AttachedToast {
  const plugin = adapted.plugins.find((p) => p.instance === instance && p.name === 'toast');
  if (!plugin) {
    const names = adapted.plugins.filter((p) => p.name === 'toast').map((p) => p.instance);
    throw new EspalierError(`no toast '${instance}' here.${didYouMean(instance, names)} There are ${names.join(', ') || 'none'}.`);
  }
  const settings = settingsOf(options.parse(plugin.options));
  return { plugin, settings, layout: layoutOf(adapted.model.scope.points, settings) };
}
