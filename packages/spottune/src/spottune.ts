import { definePlugin } from '@espalier/core';
import { adaptive } from './adaptive.ts';
import { tunedSurroundings } from './copies.ts';
import { fixed } from './fixed.ts';
import { global } from './global.ts';
import { GROUP, OPTIMISERS } from './policy.ts';
import { learns, mixesWeights, options, settingsOf } from './settings.ts';
import { unitsOf } from './units.ts';

/**
 * SpotTune: h' = a T(h) + (1 - a) F(h), with a in {0, 1} chosen per sample and place by a policy, F the pretrained
 * computation and T the tuned one. Guo et al. 2019, arXiv 1811.08737. BlockDrop (arXiv 1711.08393) skips the block instead
 * of running F, BlockReplace runs a linear. Gates are hard in the forward pass; see `gateSlope` for their gradient.
 * @throws SelectionError when nothing is gated. @throws OptionsError for options that contradict each other or the model.
 */
export const spottune = definePlugin({
  name: 'spottune',
  version: '0.1.0',
  hookApi: '1.0',
  options,
  attach(host, given) {
    const settings = settingsOf(given);
    const units = unitsOf(host.model.scope.points, settings);
    const reference = host.streams.length === 1 ? 'reference-vlbert' : 'reference-lxmert';
    const optimiser = settings.policyOptimiser ?? (settings.fidelity === 'reference' ? reference : 'described');
    if (learns(settings.policy.kind)) host.group(GROUP, OPTIMISERS[optimiser]);
    const kind = settings.policy.kind === 'global' && mixesWeights(given) ? 'weights' : settings.policy.kind;
    const hooks = kind === 'fixed' ? fixed(host, units, settings) : kind === 'weights' ? global(host, units, settings) : adaptive(host, units, settings);
    return settings.freezeEmbeddings ? hooks : [...hooks, ...tunedSurroundings(host)];
  },
});
