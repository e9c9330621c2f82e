import { z } from 'zod';
import { scaleByAdam, type AdamOptions } from './adam.ts';
import { accumulateMomentum } from './momentum.ts';
import { adamSweep, sgdSweep, type HostChange, type Sweep } from './on-host.ts';
import { parseSettings } from './settings.ts';
import { scaleByRate, type Transform } from './transform.ts';
import { addDecayedWeights, decayMovedWeights, type Exempt } from './weight-decay.ts';

/** How gradients become updates: a named chain of transforms. */
export interface Method {
  readonly name: string;
  readonly chain: readonly Transform[];
  /** What the chain does, in one pass over arrays on the host, with the chain's slots in their order: for backends that keep them there. */
  readonly onHost?: (change: HostChange) => Sweep;
}

export interface AdamWOptions extends AdamOptions {
  readonly weightDecay?: number; // default 0.01, of vlBertAdamW 1e-4
  readonly exempt?: Exempt; // what does not decay; default nothing. See `biasesAndNorms`
}

export interface SgdOptions {
  readonly momentum?: number; // default 0
  readonly weightDecay?: number; // default 0; added to the gradient, as an L2 penalty
  readonly exempt?: Exempt; // what does not decay; default nothing
}

const fraction = z.number().min(0).lt(1);
const decay = z.number().nonnegative();
const exempt = z.custom<Exempt>((f) => typeof f === 'function', 'expected a function of a variable').optional();
const AdamSchema = z.strictObject({ beta1: fraction.default(0.9), beta2: fraction.default(0.999), epsilon: z.number().positive().default(1e-8) });
const AdamWSchema = z.strictObject({ ...AdamSchema.shape, weightDecay: decay.default(0.01), exempt });
const BertAdamSchema = AdamWSchema.extend({ epsilon: z.number().positive().default(1e-6) });
const VlBertAdamWSchema = BertAdamSchema.extend({ weightDecay: decay.default(1e-4) });
const SgdSchema = z.strictObject({ momentum: fraction.default(0), weightDecay: decay.default(0), exempt });

/** Adam with bias correction (arXiv 1412.6980). @throws OptionsError. */
export function adam(options: AdamOptions = {}): Method {
  const own = parseSettings('adam', AdamSchema, options);
  return { name: 'adam', chain: [scaleByAdam(own), scaleByRate()], onHost: (change) => adamSweep(own, change) };
}

/** value <- value - rate (adam(g) + weightDecay value) (arXiv 1711.05101). @throws OptionsError. */
export function adamW(options: AdamWOptions = {}): Method {
  const { weightDecay, exempt: except, ...own } = parseSettings('adamW', AdamWSchema, options);
  return {
    name: 'adamW', chain: [scaleByAdam(own), addDecayedWeights(weightDecay, except), scaleByRate()],
    onHost: (change) => adamSweep({ ...own, decay: except?.(change.at) ? 0 : weightDecay }, change),
  };
}

/**
 * value <- value - rate (m / (sqrt(v) + epsilon) + weightDecay value), without bias correction: what BERT, LXMERT (arXiv
 * 1908.07490) and VisualBERT (arXiv 1908.03557) were fine-tuned with. Defaults epsilon 1e-6, weightDecay 0.01 on every
 * variable as LXMERT has it; VisualBERT exempts `biasesAndNorms`. Its schedule is linear with progress 'before'.
 * @throws OptionsError.
 */
export function bertAdam(options: AdamWOptions = {}): Method {
  const { weightDecay, exempt: except, ...own } = parseSettings('bertAdam', BertAdamSchema, options);
  return {
    name: 'bertAdam', chain: [scaleByAdam(own, 'none'), addDecayedWeights(weightDecay, except), scaleByRate()],
    onHost: (change) => adamSweep({ ...own, correct: 'none', decay: except?.(change.at) ? 0 : weightDecay }, change),
  };
}

/**
 * moved = value - rate sqrt(1 - b2^t) / (1 - b1^t) m / (sqrt(v) + epsilon); value <- moved - rate weightDecay moved: the
 * AdamW that VL-BERT (arXiv 1908.08530) was fine-tuned with. Defaults epsilon 1e-6, weightDecay 1e-4 on every variable.
 * Its schedule is linear with progress 'after'. @throws OptionsError.
 */
export function vlBertAdamW(options: AdamWOptions = {}): Method {
  const { weightDecay, exempt: except, ...own } = parseSettings('vlBertAdamW', VlBertAdamWSchema, options);
  return {
    name: 'vlBertAdamW', chain: [scaleByAdam(own, 'step'), scaleByRate(), decayMovedWeights(weightDecay, except)],
    onHost: (change) => adamSweep({ ...own, correct: 'step', decayMoved: except?.(change.at) ? 0 : weightDecay }, change),
  };
}

/** value <- value - rate t, where t <- momentum t + g + weightDecay value. @throws OptionsError. */
export function sgd(options: SgdOptions = {}): Method {
  const { momentum, weightDecay, exempt: except } = parseSettings('sgd', SgdSchema, options);
  const chain = [...(weightDecay ? [addDecayedWeights(weightDecay, except)] : []), ...(momentum ? [accumulateMomentum(momentum)] : []), scaleByRate()];
  return { name: 'sgd', chain, onHost: (change) => sgdSweep(momentum, except?.(change.at) ? 0 : weightDecay, change) };
}
