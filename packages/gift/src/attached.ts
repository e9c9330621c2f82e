import { didYouMean, EspalierError, select, type Adapted, type LinearPoint } from '@espalier/core';
import { chosen, groupsOf, type Group } from './groups.ts';
import { options, settingsOf, type Settings } from './options.ts';
import { residualOf, type Residual } from './residual.ts';

/** A GIFT that is on a model, from its options and its variables. */
export interface Attached {
  readonly settings: Settings;
  readonly groups: readonly { readonly group: Group; readonly residual: Residual }[];
  /** The residual of a linear, by the linear's id. */
  readonly at: ReadonlyMap<number, { readonly linear: LinearPoint; readonly residual: Residual }>;
}

/** @throws EspalierError when there is no such instance, or it is no GIFT. */
export function attachedTo<I>(adapted: Adapted<I>, instance: string): Attached {
  const plugin = adapted.plugins.find((p) => p.instance === instance && p.name === 'gift');
  if (!plugin) {
    const names = adapted.plugins.filter((p) => p.name === 'gift').map((p) => p.instance);
    throw new EspalierError(`no gift '${instance}' here.${didYouMean(instance, names)} There are ${names.join(', ') || 'none'}.`);
  }
  const settings = settingsOf(options.parse(plugin.options));
  const linears = chosen((at) => select(instance, 'linear', adapted.model.scope.points.linear, at), settings.at);
  const groups = groupsOf(linears, settings).map((group) => {
    const residual = residualOf((path) => adapted.parameters.get(`${instance}/${path}`)!, group, settings);
    return { group, residual };
  });
  return { settings, groups, at: new Map(groups.flatMap(({ group, residual }) => group.linears.map((linear) => [linear.id, { linear, residual }]))) };
}
