import type * as tf from '@tensorflow/tfjs';
import { digest, digestText, entriesOf, EspalierError, finish, isLinear, materialise, primal, startStep, tidy, weightsOf, type Adapted, type ModelWeight, type Params } from '@espalier/core';
import { z } from 'zod';
import { options } from './options.ts';

const hash = z.string().regex(/^[0-9a-f]{64}$/);

/** What a component is linearised about, and in which directions. Only equal ones compose. */
export const Identity = z.strictObject({
  base: hash, // of all below, up to head
  model: z.string(),
  weights: hash, // the backbone's frozen arrays
  plugins: z.array(z.strictObject({ instance: z.string(), options: hash, arrays: hash })), // frozen beside it, other than at the head
  drawn: hash, // arrays that were drawn anew, token included
  head: hash, // arrays of the answer head, and the answers
  answers: z.int().positive(), // how many
  selection: hash, // names and shapes of the tangents
  tangents: z.int().nonnegative(), // how many arrays
});
export type Identity = z.infer<typeof Identity>;

/** SHA-256 over the names and shapes of tangents. */
export const selectionHash = (tangents: readonly (readonly [name: string, shape: readonly number[]])[]): string =>
  digestText(tangents.map(([name, shape]) => `${name}[${shape.join(',')}]`).sort().join('\n'));

const isHead = ({ role }: { readonly role: string }): boolean => role.startsWith('head.');

/** What a tangent of an adapted model may be composed with. `answers` in the order of the logits belong to the head, where they are known. */
export async function identityOf<I>(adapted: Adapted<I>, instance: string, answers: readonly string[] = []): Promise<Identity> {
  const plugin = adapted.plugins.find((p) => p.instance === instance)!;
  if (!plugin.linearises) throw new EspalierError(`'${instance}' was trained with beside: 'trainable': the model beside it moved, so its tangents belong to no base that another could share, and it composes with nothing`);
  const own = options.parse(plugin.options);
  const others = adapted.plugins.filter((p) => !p.linearises);
  const atHead = (name: string) => adapted.plan.of(name).every((h) => isHead(h.at) || h.at.role === 'logits');
  const plugins = [];
  for (const p of others)
    if (!atHead(p.instance)) {
      const variables = [...adapted.parameters.values()].filter((v) => v.instance === p.instance).map((v): [string, tf.Tensor] => [v.path, v.variable]);
      plugins.push({ instance: p.instance, options: digestText(JSON.stringify(p.options)), arrays: await digest(variables) });
    }
  const { head, drawn, outputs } = await inForce(adapted, own.reinit);
  const found = {
    model: adapted.model.name, weights: await adapted.fingerprint(), plugins,
    drawn: digestText(JSON.stringify([drawn, own.replaceCls ? [adapted.seed, own.lastK] : null, own.dropout])),
  };
  const selection = [...adapted.parameters.values()].filter((p) => p.instance === instance).map((p) => [p.path.slice(instance.length + 1), p.variable.shape] as const);
  return {
    ...found,
    base: digestText(JSON.stringify(found)),
    head: digestText(JSON.stringify([head, answers])), answers: outputs,
    selection: selectionHash(selection), tangents: selection.length,
  };
}

/** SHA-256 of the head's arrays as they are in force, of all others where they were drawn anew, and the number of outputs. */
async function inForce<I>(adapted: Adapted<I>, anew: boolean): Promise<{ head: string; drawn: string; outputs: number }> {
  const step = startStep(adapted.plan, undefined, 0);
  try {
    const arraysAt = (at: ModelWeight): [string, tf.Tensor][] => {
      const p = step.weight<Params>(at);
      return entriesOf(isLinear(p) ? materialise(p) : p).map(([part, x]) => [`${at.path}.${part}`, primal(x)]);
    };
    const all = weightsOf(adapted.model.scope);
    const found = tidy(() => ({ head: all.filter(isHead).flatMap(arraysAt), rest: anew ? all.filter((at) => !isHead(at)).flatMap(arraysAt) : [] }));
    const head = await digest(found.head);
    const drawn = await digest(found.rest);
    const last = found.head.filter(([path]) => path.endsWith('.bias')).at(-1);
    return { head, drawn, outputs: last?.[1].shape[0] ?? 1 };
  } finally {
    finish(step);
  }
}

/** What two identities differ in, in words, with both hashes; empty when they are equal. */
export function differences(a: Identity, b: Identity): string[] {
  const short = (x: string) => x.slice(0, 12);
  const found: string[] = [];
  const note = (what: string, x: string, y: string, because: readonly string[]) => {
    if (x !== y) found.push(`another ${what} (${short(x)} and ${short(y)})${because.length ? `: ${because.join('; ')}` : ''}`);
  };
  const names = (i: Identity) => i.plugins.map((p) => p.instance).join(', ') || 'none';
  const changed = a.plugins.filter((p) => b.plugins.some((q) => q.instance === p.instance && (q.arrays !== p.arrays || q.options !== p.options)));
  note('base', a.base, b.base, [
    ...(a.model !== b.model ? [`the model is a ${a.model} and a ${b.model}`] : []),
    ...(a.weights !== b.weights ? [`the backbone's weights are ${short(a.weights)} and ${short(b.weights)}`] : []),
    ...(names(a) !== names(b) ? [`frozen plugins are ${names(a)} and ${names(b)}`] : changed.map((p) => `the frozen plugin '${p.instance}' differs`)),
    ...(a.drawn !== b.drawn ? ['arrays drawn anew differ: another seed, or reinit, replaceCls or dropout'] : []),
  ]);
  note('head', a.head, b.head, a.answers !== b.answers ? [`it has ${a.answers} and ${b.answers} answers`] : ["its arrays or the answers' order differ"]);
  note('selection', a.selection, b.selection, [`${a.tangents} and ${b.tangents} tangents`]);
  return found;
}
