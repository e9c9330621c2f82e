import * as tf from '@tensorflow/tfjs';
import { adapt, around, blend, ConflictError, definePlugin, group, random, RefusedError, totalMacs, type Adapted, type Branch, type Plugin, type StepOptions } from '@espalier/core';
import { z } from 'zod';
import { disposeInputs, padInputs, takeInputs, type TinyInputs } from './inputs.ts';
import { toBeAllClose, toBeBitEqual, toRefuse } from './matchers.ts';
import type { Scene } from './scene.ts';
import { jitter, train } from './training.ts';

/** The output, read to the host. */
export async function outputOf(adapted: Adapted<TinyInputs>, inputs: TinyInputs, options: StepOptions = {}): Promise<Float32Array> {
  const y = await adapted.forward(inputs, options);
  const values = y.dataSync<'float32'>().slice();
  y.dispose();
  return values;
}

/** Attached and untrained, the output is the base's. */
export async function checkIdentity({ adapt: put, stack, others, inputs }: Scene): Promise<void> {
  const expected = await outputOf(put(others), inputs);
  toBeAllClose(await outputOf(put(stack()), inputs), expected, { relative: 1e-6 }, 'output of the untrained plugin');
}

/** Taken off after training, the output is the base's, bit for bit. */
export async function checkWithout({ adapt: put, stack, others, subject, inputs, model }: Scene): Promise<void> {
  const frozen = put(stack({ frozenPeer: true }));
  await train(frozen, inputs, 3);
  const expected = await outputOf(put(others), inputs);
  toBeBitEqual(await outputOf(frozen.without(subject.factory.method), inputs), expected, 'output without the plugin');
  if (frozen.plan.hooks.some((h) => h.always)) return; // a task head is in force in every variant
  toBeBitEqual(await outputOf(frozen, inputs, { variant: 'pretrained' }), await outputOf(adapt(model, []), inputs), "output in variant 'pretrained'");
}

/** Merged arrays in a plain model give the same output; what is not a weight refuses to be merged and says who. */
export async function checkMerge({ adapt: put, stack, traits, peer, subject, inputs, makeModel, owns }: Scene): Promise<void> {
  const adapted = put(stack());
  jitter(adapted);
  if (!traits.weightsOnly || peer?.weightsOnly === false) {
    const blamed = traits.weightsOnly ? peer!.factory.method : undefined;
    const message = await toRefuse(() => adapted.merge(), RefusedError, ...(blamed === undefined ? [] : [`'${blamed}'`]));
    const names = adapted.plugins.map((p) => `'${p.instance}'`);
    if (!names.some((name) => message.includes(name))) throw new Error(`the refusal to merge names no plugin: ${message}`);
    return;
  }
  const merged = await adapted.merge();
  const plain = owns(makeModel({ tensors: (path) => merged.get(path) ?? missing(path) }));
  toBeAllClose(await outputOf(adapt(plain, []), inputs), await outputOf(adapted, inputs), { relative: 1e-5 }, `output of the model merged from '${subject.factory.method}'`);
}

/** A batch is its rows one by one, and padding belongs to nobody. */
export async function checkRows({ adapt: put, stack, inputs, model }: Scene): Promise<void> {
  const adapted = put(stack());
  jitter(adapted);
  const batch = model.batch(inputs);
  const whole = await outputOf(adapted, inputs);
  const each = [];
  for (let i = 0; i < batch; i++) {
    const one = takeInputs(inputs, [i]);
    each.push(...(await outputOf(adapted, one, { samples: [String(i)] })));
    disposeInputs(one);
  }
  toBeAllClose(each, whole, { relative: 1e-5 }, 'rows one by one against the batch');
  const padded = padInputs(inputs, 2, 1);
  const longer = await outputOf(adapted, padded);
  disposeInputs(padded);
  toBeAllClose(longer, whole, { relative: 1e-5 }, 'batch with more padding');
}

/** Under a hard gate around every block, running each branch's rows by themselves equals running both branches and choosing. */
export async function checkGroups({ adapt: put, stack, inputs }: Scene): Promise<void> {
  for (const training of [false, true]) {
    const outputs = [];
    for (const grouped of [true, false]) {
      let adapted;
      try {
        adapted = put([...stack(), router(grouped)]);
      } catch (e) {
        if (e instanceof ConflictError) return; // it routes blocks itself
        throw e;
      }
      jitter(adapted);
      outputs.push(await outputOf(adapted, inputs, { training }));
    }
    toBeAllClose(outputs[0]!, outputs[1]!, { relative: 1e-5 }, 'grouped rows against blended rows');
  }
}

/** Sends each row of each block through the adapted or the pretrained branch, by a coin that depends on both. */
function router(grouped: boolean): Plugin {
  const factory = definePlugin({
    name: 'router',
    version: '0.1.0',
    hookApi: '1.0',
    options: z.strictObject({}),
    attach: (host) =>
      host.stages({ role: 'block' }).map((stage) =>
        around(stage, 'route', (run, streams, step) => {
          const chosen = step.samples.map((sample) => random('router', stage.path, sample).uniform() < 0.5);
          const on: Branch = (s, rows) => run(s, rows ? { rows } : {});
          const off: Branch = (s, rows) => run(s, { variant: 'pretrained', ...(rows && { rows }) });
          return grouped ? group(step, chosen, streams, on, off) : blend(tf.tensor2d(chosen.map((c) => [c ? 1 : 0])), streams, on, off);
        }),
      ),
  });
  return factory({}, { trainable: false });
}

/** What the plugin adds to the products of a forward pass is counted and booked to it. */
export async function checkAccount({ adapt: put, stack, others, subject, inputs }: Scene): Promise<void> {
  const name = subject.factory.method;
  const adapted = put(stack());
  const rows = await adapted.account(inputs);
  const [total, base] = [totalMacs(rows), totalMacs(await put(others).account(inputs))];
  const known = ['', ...adapted.plugins.map((p) => p.instance)];
  for (const { instance } of rows) if (!known.includes(instance)) throw new Error(`multiply-adds booked to '${instance}', which is no plugin here`);
  if (total < base) throw new Error(`${total} multiply-adds per sample, the base alone has ${base}`);
  const own = totalMacs(rows, (r) => r.instance === name);
  // A stage run again and a kernel put in another's place are products of the model itself.
  const changes = adapted.plan.of(name).some((h) => h.kind === 'stage' || (h.kind === 'weight' && h.mode === 'replace'));
  if (total > base && own === 0 && !changes) throw new Error(`${total - base} multiply-adds more than the base, none booked to '${name}'`);
}

function missing(path: string): never {
  throw new Error(`merge gave no array for '${path}'`);
}
