import * as tf from '@tensorflow/tfjs';
import { EspalierError, finish, primal, startStep, type Adapted } from '@espalier/core';
import { attachedTo } from './attached.ts';
import { addMoments, explained, noMoments } from './moments.ts';
import { seenIn } from './reconstruction.ts';
import { solveRidge } from './solve.ts';

export interface PretuneOptions {
  readonly instance?: string; // default 'toast'
  readonly lambda?: number; // ridge per token; default 1e-3
  readonly beta?: number; // B = beta I afterwards; default 0, which leaves the output of the frozen model
}

/** How well one block's input follows linearly from its output. */
export interface PretunedBlock {
  readonly stream: string;
  readonly block: string; // 'cross.0'
  readonly tokens: number;
  readonly r2: number; // share of the variance of the input that A explains
}

/**
 * Pre-tunes the way down in closed form, without labels: A_l = argmin sum |A h_(l+1) - h_l|^2 + n lambda |A|^2 over the n tokens
 * of frozen states h that `batches` bring, padding left out, which is A' = (H' H / n + lambda I)^-1 H' Y / n of all outputs H [n, d] and
 * inputs Y of block l. Of 'lite' and frozen A, the bases. The result is a start: the loss it minimises is that of `reconstruction`.
 * @throws EspalierError when the instance has no A to set, and when there are no tokens.
 */
export async function pretune(adapted: Adapted<unknown>, batches: AsyncIterable<unknown>, { instance = 'toast', lambda = 1e-3, beta = 0 }: PretuneOptions = {}): Promise<readonly PretunedBlock[]> {
  const { layout: { from, descents } } = attachedTo(adapted, instance);
  const { model, plan } = adapted;
  if (!model.encode) throw new EspalierError(`pretune: '${model.name}' has no 'encode', so that its streams cannot be read`);
  const variable = (name: string) => adapted.parameters.get(`${instance}/${name}`)?.variable;
  const blocks = descents.flatMap(({ stream, width, levels }) => levels.map((level) => ({ stream, level, a: variable(`${level.path}.a`), moments: noMoments(width) })));
  if (blocks.some(({ a }) => !a)) throw new EspalierError(`pretune: '${instance}' has no whole A to set. With feedback 'lite' or freezeA give it bases: true; of 'composed' take the model it was made from.`);
  for await (const inputs of batches) {
    const states = new Map<string, { readonly block: number; readonly hidden: tf.Tensor }[]>(descents.map(({ stream }) => [stream, []]));
    const step = startStep(plan, inputs, model.batch(inputs), {
      variant: 'pretrained',
      observe: ({ role, stream, block }, x) => {
        if (role === 'embed.output' || role === 'block.output') states.get(stream ?? '')?.push({ block: block ?? -1, hidden: tf.keep(primal(x).clone()) });
      },
    });
    try {
      tf.tidy(() => {
        const streams = model.encode!(inputs, step.with({ range: [0, from] }));
        for (const { stream, level, moments } of blocks) {
          const until = (last: number) => states.get(stream)!.findLast(({ block }) => block <= last)?.hidden;
          // What a block leaves out, such as the half that no answer reads, passes it unchanged.
          const [upper, lower] = [until(level.block.block!), until(level.block.block! - 1)];
          if (!upper || !lower) throw new EspalierError(`pretune: what enters block '${level.block.path}' of stream '${stream}' is not known: the model has no site 'embed.output' there`);
          addMoments(moments, upper, lower, seenIn(streams[stream]!.mask));
        }
      });
    } finally {
      tf.dispose([...states.values()].flat().map(({ hidden }) => hidden));
      finish(step);
    }
  }
  return blocks.map(({ stream, level, a, moments }) => {
    const { width, tokens, gram, cross } = moments;
    if (!tokens) throw new EspalierError('pretune: there is no token to learn from: the data are empty');
    const solution = solveRidge(gram, cross, width, lambda * tokens);
    assign(a!, solution);
    for (const use of level.uses) {
      const b = variable(`${use.path}.b`);
      if (b) assign(b, Float32Array.from({ length: width * width }, (_, i) => (Math.floor(i / width) === i % width ? beta : 0)));
    }
    return { stream, block: level.block.path, tokens, r2: explained(moments, solution) };
  });
}

const assign = (to: tf.Variable, values: Float32Array | Float64Array): void => tf.tidy(() => to.assign(tf.tensor(Float32Array.from(values), to.shape)));
