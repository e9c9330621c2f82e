import { ConflictError, load, OptionsError, readSafetensors, save, type Restorer } from '@espalier/core';
import { outputOf } from './check-output.ts';
import { toBeBitEqual, toRefuse } from './matchers.ts';
import type { Scene } from './scene.ts';
import { memoryStore } from './store.ts';
import { jitter, train } from './training.ts';

/** Saved after training and loaded on an equal model, the output is the same bit for bit; files hold only the plugins' variables. */
export async function checkSaving({ adapt, stack, subject, peer, inputs, makeModel, owns }: Scene): Promise<void> {
  const adapted = adapt(stack(), 7);
  jitter(adapted);
  await train(adapted, inputs, 3);
  const store = memoryStore();
  await save(adapted, store, { config: {} });
  for (const { instance } of adapted.plugins) {
    const bytes = store.files.get(`${instance}.safetensors`);
    if (!bytes) throw new Error(`saving wrote no file for '${instance}'`);
    const saved = [...readSafetensors(bytes).tensors.keys()].sort();
    const owned = [...adapted.parameters.values()].filter((p) => p.instance === instance).map((p) => p.path.slice(instance.length + 1)).sort();
    if (saved.join() !== owned.join()) throw new Error(`the file of '${instance}' holds ${saved.join(', ')}; its variables are ${owned.join(', ')}`);
  }
  const factories: readonly Restorer[] = [subject.factory, ...(peer ? [peer.factory] : [])];
  const resolve = (method: string) => factories.find((f) => f.method === method) ?? unknown(method);
  const restored = owns(await load(owns(makeModel()), store, { resolve }));
  toBeBitEqual(await outputOf(restored, inputs), await outputOf(adapted, inputs), 'output after saving and loading');
}

/** Two instances with names coexist, or conflict loudly; taking one off keeps the other as it was. */
export async function checkInstances({ adapt, stack, subject, inputs, others }: Scene): Promise<void> {
  const { factory, options } = subject;
  let both;
  try {
    both = adapt([...stack({ as: 'a' }), factory.from(options, { as: 'b' })]);
  } catch (e) {
    if (e instanceof ConflictError) return;
    throw e;
  }
  jitter(both);
  const alone = adapt(stack({ as: 'a' }));
  for (const [name, { variable }] of alone.parameters) variable.assign(both.parameters.get(name)!.variable);
  const name = `${factory.method}#b`;
  toBeBitEqual(await outputOf(both.without(name), inputs), await outputOf(alone, inputs), `output without '${name}'`);
  if (others.length === 0) {
    const base = await outputOf(both.without(name, `${factory.method}#a`), inputs);
    toBeBitEqual(base, await outputOf(adapt([]), inputs), 'output without either');
  }
}

/** Options survive a round trip through JSON and unknown ones are refused. */
export async function checkOptions({ subject: { factory, options }, adapt, inputs }: Scene): Promise<void> {
  const plugin = factory.from(options);
  const text = JSON.stringify(plugin.options);
  const again = factory.from(JSON.parse(text));
  if (JSON.stringify(again.options) !== text) throw new Error(`options are ${text} and come back as ${JSON.stringify(again.options)}`);
  toBeBitEqual(await outputOf(adapt([again]), inputs), await outputOf(adapt([plugin]), inputs), 'output from options that went through JSON');
  const given = typeof options === 'object' && options !== null ? options : {};
  await toRefuse(() => factory.from({ ...given, notAnOption: 1 }), OptionsError, `'${factory.method}'`, 'notAnOption');
  await toRefuse(() => factory.from(3), OptionsError, `'${factory.method}'`);
}

function unknown(method: string): never {
  throw new Error(`no factory for '${method}'`);
}
