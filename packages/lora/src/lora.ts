import { definePlugin, kaiming, scale, selectSchema, weight, withLowRank, zeros, type LinearRole } from '@espalier/core';
import { z } from 'zod';

const options = z.strictObject({
  /** Inner width r of the update. */
  rank: z.int().positive().default(8),
  /** Numerator of the update's scale. */
  alpha: z.number().positive().default(16),
  /** Scale by alpha / sqrt(rank), whose gradients do not shrink as the rank grows (arXiv 2312.03732). */
  rsLora: z.boolean().default(false),
  /** Biases stay frozen. */
  bias: z.literal('none', "only 'none': to train biases too, add tune({ preset: 'bitfit' }) beside lora").default('none'),
  /** Which linears. */
  at: selectSchema<LinearRole>().default({ role: ['attention.query', 'attention.value'] }),
});

/**
 * LoRA: y = x W + (alpha / rank) (x A) B, with `A` [in, rank] uniform within 1 / sqrt(in) and `B` [rank, out] zero, so
 * that training starts from the pretrained model. Hu et al. 2021, arXiv 2106.09685. W gets no gradient and the product
 * A B is formed only by `merge`. @throws SelectionError when `at` selects no linear.
 */
export const lora = definePlugin({
  name: 'lora',
  version: '0.1.0',
  hookApi: '1.0',
  options,
  attach(host, { rank, alpha, rsLora, at }) {
    const factor = alpha / (rsLora ? Math.sqrt(rank) : rank);
    return host.linears(at).map((w) => {
      const a = host.variable(`${w.path}.a`, [w.in, rank], kaiming);
      const b = host.variable(`${w.path}.b`, [rank, w.out], zeros);
      return weight(w, (p, step) => withLowRank(p, scale(step.read(a), factor), step.read(b)));
    });
  },
});
