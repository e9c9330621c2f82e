import * as tf from '@tensorflow/tfjs';
import { within, type StagePoint } from './points.ts';
import type { Slot } from './shared.ts';
import type { Step } from './step.ts';
import type { Streams } from './streams.ts';
import { mapValues, tensorsIn, tidy } from './tree.ts';
import { Dual, parts, type Value } from './value.ts';
import type { Params } from './weights.ts';

/**
 * Runs a stage as one node of the gradient tape: forward keeps nothing of its inside, backward computes it again.
 * A customGrad differentiates its arguments only, so everything the inside reads that may carry a gradient (streams,
 * effective weights, parameters of plugins that act there, slots) is listed and passed as one.
 */
export function isolate(step: Step, point: StagePoint, streams: Streams): Streams {
  const read = reads(step, point);
  const slots = [...step.shared.slots];
  const constants = new Set(read.flatMap(({ constants }) => constants));
  const inputs = point.reads.map((name) => streams[name]);
  const args = [...new Set([...tensorsIn(inputs), ...tensorsIn(read.map((r) => r.params)), ...tensorsIn(slots.map(([, v]) => v))])].filter(
    (t) => !constants.has(t) && t.dtype === 'float32',
  );

  const run = (given: readonly tf.Tensor[]) => {
    const at = new Map(args.map((t, i) => [t, given[i]!]));
    const swap = <T>(tree: T): T => mapValues(tree, (x) => substitute(x, at)) as T; // same shape of tree, other arrays
    const held = new Map<Slot<unknown>, unknown>(slots.map(([slot, v]) => [slot, swap(v)]));
    const inside = step.fork({ isolated: true, memo: new Map(), slots: held, losses: new Map(), recompute: false, prefix: undefined });
    for (const { key, params } of read) inside.assume(key, swap(params));
    const out = inside.enter(point, { ...streams, ...Object.fromEntries(point.reads.map((name, i) => [name, swap(inputs[i]!)])) });
    return { out, losses: inside.shared.losses };
  };

  const shape: { hidden: Value[]; masks: tf.Tensor[]; names: string[] } = { hidden: [], masks: [], names: [] };
  const op = tf.customGrad((...all) => {
    const save = all.at(-1) as tf.GradSaveFunc;
    save(args);
    const { out, losses } = run(args);
    shape.hidden = point.writes.map((name) => out[name]!.hidden);
    shape.masks = point.writes.map((name) => step.keep(out[name]!.mask));
    shape.names = [...losses.keys()];
    return {
      value: pack(shape.hidden, losses),
      gradFunc: (dy: tf.Tensor, saved: tf.Tensor[]) => {
        const again = () => tidy(() => {
          const { out, losses } = run(saved);
          return pack(point.writes.map((name) => out[name]!.hidden), losses);
        });
        const grads = nestedGradients(again, saved, dy);
        return saved.map((t, i) => grads[i] ?? tf.zerosLike(t));
      },
    };
  });
  const packed = op(...args);

  const sizes = [...shape.hidden.flatMap(parts).map((t) => t.size), ...shape.names.map(() => 1)];
  const pieces = sizes.length === 1 ? [packed] : tf.split(packed, sizes, 0);
  const result: Record<string, Streams[string]> = { ...streams };
  let next = 0;
  point.writes.forEach((name, i) => {
    const like = shape.hidden[i]!;
    const each = parts(like).map((t) => tf.reshape(pieces[next++]!, t.shape));
    result[name] = { hidden: like instanceof Dual ? new Dual(each[0]!, each[1]!) : each[0]!, mask: shape.masks[i]! };
  });
  for (const name of shape.names) step.loss(name, tf.reshape(pieces[next++]!, []));
  return result;
}

interface Read {
  readonly key: unknown; // where the memo keeps it
  readonly params: Params;
  readonly constants: readonly tf.Tensor[]; // arrays as pretrained, which carry no gradient
}

/** What the inside of a stage may ask the step for that plugins made: hooked weights, and variables that hooks read as they run. */
function reads(step: Step, point: StagePoint): Read[] {
  const { plan } = step.shared;
  const { weights } = step.table;
  const inside = plan.hooks.filter((h) => within(h.at.path, point.covers));
  const found = new Map<unknown, Read>();
  const readAsTheyRun = new Set<string>();
  for (const h of inside) {
    const hooks = weights[h.at.id];
    if (h.kind !== 'weight' || (h.activation && hooks?.length === 1)) readAsTheyRun.add(h.instance);
    else if (hooks) found.set(hooks, { key: hooks, params: step.weight(h.at), constants: tensorsIn(h.at.pretrained) });
  }
  // A hook around a stage may run its inside in another variant, whose weights are folded there, from the variables.
  const switches = inside.some((h) => h.kind === 'stage');
  if (switches) for (const h of inside) readAsTheyRun.add(h.instance);
  for (const instance of readAsTheyRun)
    for (const p of plan.parametersOf(instance)) {
      const hooks = weights[p.id];
      found.set(hooks ?? p, { key: hooks ?? p, params: step.weight(p), constants: [] });
      if (!switches) continue;
      found.set(p, { key: p, params: p.pretrained, constants: [] });
      for (const h of plan.hooks) if (h.at.id === p.id) readAsTheyRun.add(h.instance); // a set grows while it is walked
    }
  return [...found.values()];
}

/** Gradients inside another backward pass: tfjs clears its one tape when the inner ones are done, so the outer's is put back. */
function nestedGradients(f: () => tf.Tensor, xs: tf.Tensor[], dy: tf.Tensor): readonly (tf.Tensor | undefined)[] {
  const { state } = tf.engine();
  const outer = state.activeTape;
  try {
    return tf.engine().gradients(f, xs, dy, true).grads;
  } finally {
    state.activeTape = outer;
  }
}

const substitute = (x: Value, at: ReadonlyMap<tf.Tensor, tf.Tensor>): Value =>
  x instanceof Dual ? new Dual(at.get(x.primal) ?? x.primal, at.get(x.tangent) ?? x.tangent) : (at.get(x) ?? x);

/** All outputs as one vector: a customGrad gives one array. */
function pack(hidden: readonly Value[], losses: ReadonlyMap<string, tf.Tensor>): tf.Tensor {
  const all = [...hidden.flatMap(parts), ...losses.values()].map((t) => tf.reshape(t, [-1]));
  return all.length === 1 ? all[0]! : tf.concat(all, 0);
}
