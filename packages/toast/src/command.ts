import { pluginCommand } from '@espalier/core';
import { z } from 'zod';
import { pretune } from './pretune.ts';

/** `espalier pretune`: gives the way down a start, in closed form from frozen states or by training with the reconstruction loss. */
export const pretuneCommand = pluginCommand({
  name: 'pretune',
  says: 'Pre-tune the feedback path of a TOAST; train --start takes it from there',
  examples: [
    `espalier pretune --backbone lxmert --plugin 'toast:{}' --data shapes:1500 --out out/pretuned`,
    `espalier pretune --plugin 'toast:{"feedback":"lite","bases":true}' --method gradient --epochs 2 --out out/pretuned`,
  ],
  works: 'training',
  settings: z.strictObject({
    method: z.enum(['closed', 'gradient']).default('closed').meta({ description: 'closed: least squares on frozen states, without labels; gradient: the task loss and the reconstruction loss', value: 'NAME' }),
    instance: z.string().min(1).default('toast').meta({ description: 'which TOAST, where there are several', value: 'NAME' }),
    lambda: z.number().positive().default(1e-3).meta({ description: 'of closed: ridge per token', value: 'X' }),
    beta: z.number().default(0).meta({ description: 'of closed: B starts at beta times the identity; at 0 nothing is fed back before training', value: 'X' }),
    coefficient: z.number().positive().default(0.1).meta({ description: 'of gradient: c of the reconstruction loss', value: 'C' }),
    out: z.string().min(1).meta({ description: 'directory for the pre-tuned plugin', value: 'DIR' }),
  }),
  run: async ({ method, instance, lambda, beta, coefficient, out }, application) => {
    if (method === 'gradient') {
      await application.train(out, (name, options) => (name === 'toast' ? { ...Object(options), reconstruction: coefficient } : options));
      return;
    }
    const place = await application.compose();
    try {
      const { adapted } = place;
      await adapted.prepare(() => place.batches());
      const found = await pretune(adapted, place.batches(), { instance, lambda, beta });
      const others = adapted.plugins.map((p) => p.instance).filter((name) => name !== instance);
      await place.save(out, { adapted: adapted.without(...others) });
      const table = found.map(({ stream, block, tokens, r2 }) => [block, stream, String(tokens), `${(100 * r2).toFixed(2)} %`]);
      application.report(`Linear reconstruction of each block's input from its output; saved in ${out}.`, [['block', 'stream', 'tokens', 'R2'], ...table], { type: 'pretuned', out, blocks: found });
    } finally {
      place.dispose();
    }
  },
});
