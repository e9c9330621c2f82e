import { definePlugin, weight } from '@espalier/core';
import { chosen, groupsOf } from './groups.ts';
import { clustersOf, options, settingsOf } from './options.ts';
import { readoutsOf } from './readouts.ts';
import { residualOf } from './residual.ts';

/**
 * GIFT: W' = W + g(W phi) psi, where `W` [out, in] is frozen and one generator (phi [in, r], g, psi [r, in]) serves many
 * linears. By default g is the identity and W' = W (I + phi psi): a scaling, so that two of them multiply. psi starts at zero,
 * which is the pretrained model. Savadikar et al., arXiv 2312.00700 (v2-v4; generator 'paca' is v1). W gets no gradient and
 * the update is formed only by `merge`; whatever is generated is generated once a step. Its readouts are its cluster maps.
 * @throws SelectionError when `at` selects nothing or names a role that the model lacks, and when linears of different
 * widths share a generator. @throws OptionsError when the rank is larger than the width.
 */
export const gift = definePlugin({
  name: 'gift',
  version: '0.1.0',
  hookApi: '1.0',
  options,
  attach(host, given) {
    const settings = settingsOf(given);
    return groupsOf(chosen(host.linears, settings.at), settings).flatMap((group) => {
      const { lowRank, activation, clusters } = residualOf(host.variable, group, settings);
      return group.linears.flatMap((w) => [
        weight(w, (p, step) => lowRank(p, w, (variable) => step.read(variable)), { mode: 'scale', tail: true, ...(activation && { activation }) }),
        ...readoutsOf(host, w, clustersOf(settings), clusters),
      ]);
    });
  },
});
