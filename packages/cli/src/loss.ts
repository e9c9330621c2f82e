import { didYouMean } from '@espalier/core';
import { answerLoss, klDivergence, rescaledSquare, softmaxCrossEntropy, type Task } from '@espalier/train';
import type { VqaExamples } from '@espalier/vl-models';
import { z } from 'zod';
import { UsageError } from './errors.ts';
import { parsePluginSpec } from './plugin-spec.ts';

type Loss = Task<VqaExamples, unknown>['loss'];

const NAMES = ['bce', 'ce', 'kl', 'square'] as const;
const Square = z.strictObject({ kappa: z.number().positive().optional(), alpha: z.number().positive().optional() });

/** The loss of `--loss`: a name, with options where it has any. @throws UsageError for an unknown one, with the nearest names. */
export function lossNamed(spec: string): Loss {
  const { name, options } = parsePluginSpec(spec);
  if (name === 'square') {
    const parsed = Square.safeParse(options);
    if (!parsed.success) throw new UsageError(`--loss ${spec}: ${parsed.error.issues.map((i) => `${i.path.join('.') || 'options'}: ${i.message}`).join('; ')}. square has kappa and alpha.`);
    const { kappa, alpha } = parsed.data;
    return rescaledSquare({ ...(kappa !== undefined && { kappa }), ...(alpha !== undefined && { alpha }) });
  }
  if (Object.keys(Object(options)).length) throw new UsageError(`--loss ${spec}: ${name} has no options`);
  switch (name) {
    case 'bce':
      return answerLoss;
    case 'ce':
      return softmaxCrossEntropy;
    case 'kl':
      return klDivergence;
    default:
      throw new UsageError(`--loss ${spec}: there is no such loss.${didYouMean(name, NAMES)} There are ${NAMES.join(', ')}.`);
  }
}
