import * as tf from '@tensorflow/tfjs';
import { Adapted, finish, primal, RefusedError, startStep, type ParameterPoint } from '@espalier/core';
import { attachedTo } from './attached.ts';
import { feedbackOf } from './feedback.ts';
import { toast } from './toast.ts';

/**
 * The same model with the way down multiplied out, for inference: td_l = (s X) M_l with one M_l = P A_(from-1)' .. A_l' B_l' [d, d]
 * for every signal, which is one product where there were two, and none for P. It is no longer trained. Variables of all other
 * plugins and the task vector are shared with `adapted`, which must not be disposed before it.
 * @throws RefusedError for feedback of low rank, whose maps are cheaper than their products. @throws EspalierError for an unknown instance.
 */
export function composeFeedback<I>(adapted: Adapted<I>, { instance = 'toast' }: { readonly instance?: string } = {}): Adapted<I> {
  const { plugin, settings, layout } = attachedTo(adapted, instance);
  if (settings.feedback !== 'full') throw new RefusedError(`'${instance}' is not multiplied out: ${settings.feedback === 'lite' ? 'its maps of low rank are cheaper than their products' : 'it is already'}.`);
  const { rank: _, alpha: __, ...options } = Object(plugin.options) as Record<string, unknown>;
  const as = instance === plugin.name ? {} : { as: instance.slice(plugin.name.length + 1) };
  const composed = toast.from({ ...options, feedback: 'composed', freezeA: false, bases: false, reconstruction: 0, freezeP: true }, { ...as, trainable: false });
  const result = new Adapted(adapted.model, adapted.plugins.map((p) => (p === plugin ? composed : p)), adapted.seed, adapted.parameters);
  const known = (path: string): ParameterPoint => adapted.parameters.get(`${instance}/${path}`)!;
  const step = startStep(adapted.plan, undefined, 0);
  try {
    tf.tidy(() => {
      for (const descent of layout.descents) {
        const p = adapted.parameters.get(`${instance}/${descent.stream}.p`);
        const start = p ? step.read(p) : tf.eye(descent.width);
        const each = tf.reshape(primal(start), [1, descent.width, descent.width]); // the rows of P go down like tokens
        for (const [use, m] of feedbackOf({ variable: known }, descent, settings).signals(each, step))
          result.parameters.get(`${instance}/${use.path}.m`)!.variable.assign(tf.reshape(primal(m), [descent.width, descent.width]));
      }
    });
  } finally {
    finish(step);
  }
  return result;
}
