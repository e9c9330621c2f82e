import { readings, type Adapted, type Reading } from '@espalier/core';
import { attachedTo } from './attached.ts';
import { attended, ATTENTION, FEEDBACK, GATE } from './readouts.ts';

/** A number for every token of every sample: values[sample][token]. */
export type PerToken = readonly Float32Array[];

/** Where one attention looked from the answer's token, without plugins and after feedback. */
export interface AttentionMap {
  readonly site: string;
  readonly block: number;
  readonly from: string | undefined; // the stream that attends
  readonly stream: string | undefined; // whose tokens are looked at
  readonly before: PerToken;
  readonly after: PerToken;
}
/** How strong one signal is: |td| / |u| of every token. */
export interface FeedbackMap {
  readonly site: string;
  readonly block: number;
  readonly stream: string | undefined;
  readonly strength: PerToken;
}
export interface Steering {
  readonly attention: readonly AttentionMap[];
  readonly feedback: readonly FeedbackMap[];
  readonly gates: readonly { readonly stream: string | undefined; readonly gate: PerToken }[]; // clip(cos(X, xi), 0, 1)
}

/**
 * What feedback did to a batch, in the order of the model: attention of heads averaged, its strength by block, and the gates.
 * `before` is the model without any plugin. @throws EspalierError when there is no such instance.
 */
export async function steeringOf<I>(adapted: Adapted<I>, inputs: I, { instance = 'toast' }: { readonly instance?: string } = {}): Promise<Steering> {
  attachedTo(adapted, instance);
  const found = new Map<string, Reading>(); // of several passes, the last
  for (const reading of await readings(adapted, inputs)) if (reading.instance === instance) found.set(`${reading.variant} ${reading.path}`, reading);
  const attention: AttentionMap[] = [];
  const feedback: FeedbackMap[] = [];
  const gates: Steering['gates'][number][] = [];
  for (const site of adapted.model.scope.points.site) {
    const [before, after] = ['pretrained', 'adapted'].map((variant) => found.get(`${variant} ${site.path}`));
    if (!before || !after || site.block === undefined) continue; // what no answer reads does not run
    const { path, block, stream } = site;
    if (after.labels[0] === ATTENTION) attention.push({ site: path, block, from: stream, stream: attended(adapted, site), before: columnOf(before, ATTENTION), after: columnOf(after, ATTENTION) });
    if (after.labels.includes(FEEDBACK)) feedback.push({ site: path, block, stream, strength: columnOf(after, FEEDBACK) });
    if (after.labels.includes(GATE)) gates.push({ stream, gate: columnOf(after, GATE) });
  }
  return { attention, feedback, gates };
}

function columnOf({ labels, shape, values }: Reading, label: string): PerToken {
  const [batch, tokens, columns] = shape as [number, number, number];
  const at = labels.indexOf(label);
  return Array.from({ length: batch }, (_, b) => Float32Array.from({ length: tokens }, (_, t) => values[(b * tokens + t) * columns + at]!));
}
