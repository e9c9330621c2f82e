import { add, copyOf, definePlugin, matMul, mapParams, mul, normal, ones, reshape, tanh, value, weight, zeros, type Value } from '@espalier/core';
import { z } from 'zod';

/** Multiplies the outputs of the value linears and of the feed-forward by a learned vector: kernel and bias alike (arXiv 2205.05638). */
export const scaler = definePlugin({
  name: 'scaler',
  version: '0.1.0',
  hookApi: '1.0',
  options: z.strictObject({ start: z.number().default(1.25) }),
  attach: (host, { start }) =>
    host.linears({ role: ['attention.value', 'ffn.down'] }).map((at) => {
      const gain = host.variable(`${at.path}.gain`, [at.out], start === 1 ? ones : copyOf(Array.from({ length: at.out }, (_, i) => start - 0.01 * i)));
      return weight(at, (p, step) => mapParams(p, (x) => mul(x, step.read(gain))), { mode: 'scale' });
    }),
});

/** A bottleneck after the feed-forward: y += tanh(y A) B, on every token (arXiv 1902.00751). */
export const adapter = definePlugin({
  name: 'adapter',
  version: '0.1.0',
  hookApi: '1.0',
  options: z.strictObject({ rank: z.int().positive().default(2), start: z.number().default(0.3) }),
  attach: (host, { rank, start }) =>
    host.sites({ role: 'ffn.down' }).map((site) => {
      const width = site.of!.out; // a linear's own site
      const down = host.variable(`${site.path}.down`, [width, rank], normal(start));
      const up = host.variable(`${site.path}.up`, [rank, width], start === 0 ? zeros : normal(start));
      return value(site, (y, step) => {
        const flat: Value = reshape(y, [-1, width]);
        const change = matMul(tanh(matMul(flat, step.read(down))), step.read(up));
        return add(y, reshape(change, y.shape));
      });
    }),
});
