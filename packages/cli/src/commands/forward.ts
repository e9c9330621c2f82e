import { readFile } from 'node:fs/promises';
import { adapt, EspalierError, primal, readSafetensors, tensorsIn, writeSafetensors } from '@espalier/core';
import { selectBackend } from '@espalier/core/backend';
import { writeWhole } from '@espalier/train';
import { disposeModel, type LoadReport, type NamedArray } from '@espalier/vl-models';
import * as tf from '@tensorflow/tfjs';
import { buildBackbone } from '../backbone-model.ts';
import { findBackbone } from '../backbone-weights.ts';
import { downloads, printJson } from '../console.ts';
import { reasonOf } from '../errors.ts';
import { checkInputs, regionWidth } from '../forward-inputs.ts';
import { ForwardSettings } from '../settings.ts';
import { command } from './command.ts';

interface Kept {
  readonly shape: readonly number[];
  readonly data: Float32Array;
}

export const forward = command({
  name: 'forward',
  says: 'Run a backbone on given tensors and write its logits and every value on the way, for comparison with a reference; without an answer head in the weights, the values before it',
  examples: ['espalier forward --weights DIR --inputs inputs.safetensors --out values.safetensors', 'espalier forward --weights DIR --inputs inputs.safetensors --out values.safetensors --expected logits.safetensors'],
  settings: ForwardSettings,
  run: async ({ weights, inputs: file, out, expected, tolerance, backbone, size, offline, backend, threads, json }, to) => {
    const engine = await selectBackend(backend, { threads });
    const found = await findBackbone({ weights, backbone, size }, { offline, ...downloads(to) });
    if (found.weights === undefined) throw new EspalierError(`--weights ${weights} holds no weights: there is nothing to compare`);
    const arrays = await readTensors('--inputs', file);
    const reference = expected === undefined ? undefined : await readTensors('--expected', expected);
    // A BERT's projection of regions is drawn, so it is as wide as they are.
    const width = found.init === 'bert' ? regionWidth(found.kind, arrays) : undefined;
    const config = { ...found.config, ...(width !== undefined && { [found.kind.featureKey]: width }) };
    const { model, report } = await buildBackbone({ ...found, config, seed: 0, signal: to.signal });
    const stored = storedPart(report);
    const source = found.recorded ?? found.weights;
    if (!stored('logits')) to.err(`${source} has no whole answer head: logits are left out, and what else depends on what it lacks\n`);
    if (found.init === 'bert') to.err(`${source} is a BERT: what it has not, such as all of the vision, is drawn from seed 0; only values of words alone have a reference\n`);
    const adapted = adapt(model, []);
    try {
      const { map, asked } = watched(arrays);
      const inputs = named(file, () => {
        checkInputs(found.kind, arrays, config);
        return found.kind.inputsFrom(map, model.config);
      });
      const unread = [...arrays.keys()].filter((name) => !asked.has(name));
      if (unread.length) to.err(`${file}: not read, because ${model.name} has no such input: ${unread.join(', ')}. Its inputs are ${[...asked].join(', ')}.\n`);
      const kept = new Map<string, Kept>();
      try {
        const logits = await adapted.forward(inputs, {
          observe: (site, x) => {
            if (stored(site.path)) kept.set(site.path, { shape: x.shape, data: primal(x).dataSync<'float32'>().slice() });
          },
        });
        if (stored('logits')) kept.set('logits', { shape: logits.shape, data: await logits.data<'float32'>() });
        logits.dispose();
      } finally {
        tf.dispose(tensorsIn(inputs));
      }
      await writeWhole(out, writeSafetensors(kept, { model: model.name, backend: engine.name }));
      const logits = kept.get('logits')?.shape;
      const differences = reference && differencesFrom(reference, kept, expected ?? '');
      if (json) printJson(to, { type: 'forward', backbone: model.name, backend: engine.name, out, ...(logits && { logits }), tensors: [...kept.keys()], ...(differences && { differences: Object.fromEntries(differences) }) });
      else to.out(`${model.name}: ${logits ? `logits [${logits.join(', ')}] and ${kept.size - 1}` : kept.size} values written to ${out} (backend ${engine.name})\n${[...(differences ?? [])].map(([name, x]) => `${name}: differs by at most ${x.toExponential(1)}\n`).join('')}`);
      const worst = [...(differences ?? [])].filter(([, x]) => !(x <= tolerance));
      if (worst.length) throw new EspalierError(`${expected}: ${worst.map(([name, x]) => `'${name}' differs by ${x.toExponential(1)}`).join(', ')}, more than ${tolerance}`);
    } finally {
      adapted.dispose();
      disposeModel(model.scope);
    }
  },
});

/** The largest absolute difference of each tensor that both have. @throws EspalierError when there is none, or one of another shape. */
function differencesFrom(reference: ReadonlyMap<string, NamedArray>, kept: ReadonlyMap<string, Kept>, file: string): Map<string, number> {
  const found = new Map<string, number>();
  for (const [name, want] of reference) {
    const got = kept.get(name);
    if (!got) continue;
    if (got.shape.join() !== want.shape.join()) throw new EspalierError(`${file}: '${name}' has shape [${want.shape.join(', ')}], here it is [${got.shape.join(', ')}]`);
    found.set(name, got.data.reduce((worst, x, i) => Math.max(worst, Math.abs(x - Number(want.data[i]))), 0));
  }
  if (!found.size) throw new EspalierError(`${file}: none of its tensors is among those written: it has ${some(reference.keys())}; written are ${some(kept.keys())}`);
  return found;
}

const some = (names: Iterable<string>): string => {
  const all = [...names];
  return `${all.slice(0, 12).join(', ')}${all.length > 12 ? ` and ${all.length - 12} more` : ''}`;
};

/** Which sites, and whether `logits`, have the values of the weights: where an array of the head was drawn, none of the head but what the pooler gives, which is never drawn. */
function storedPart(report: LoadReport | undefined): (path: string) => boolean {
  const drawn = report?.drawn ?? [];
  const whole = !drawn.some((path) => path.startsWith('head.'));
  return (path) => whole || (path !== 'logits' && (!path.startsWith('head.') || /^head\.pool(ed|er)\b/.test(path)));
}

async function readTensors(flag: string, file: string) {
  let bytes: Uint8Array;
  try {
    bytes = await readFile(file);
  } catch (e) {
    throw new EspalierError(`${flag} ${file} cannot be read (${reasonOf(e)})`);
  }
  return readSafetensors(bytes, file).tensors;
}

/** A map that remembers which keys were asked for. */
function watched<T>(arrays: ReadonlyMap<string, T>): { map: ReadonlyMap<string, T>; asked: ReadonlySet<string> } {
  const asked = new Set<string>();
  const map = new Map(arrays);
  const noted = (name: string): string => {
    asked.add(name);
    return name;
  };
  Object.assign(map, { get: (name: string) => arrays.get(noted(name)), has: (name: string) => arrays.has(noted(name)) });
  return { map, asked };
}

/** What goes wrong with inputs is said with their file. */
function named<T>(file: string, read: () => T): T {
  try {
    return read();
  } catch (e) {
    throw e instanceof EspalierError ? new EspalierError(`${file}: ${e.message}`, { cause: e }) : e;
  }
}
