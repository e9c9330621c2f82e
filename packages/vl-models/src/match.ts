import type { Checkpoint } from '@espalier/checkpoints';
import { CheckpointError } from '@espalier/core';
import { applied, oldNames, type KeyOf, type Rules } from './keys.ts';
import type { Backbone } from './vqa-model.ts';

/** Where a model's arrays stand in a file. */
export interface Match {
  readonly found: ReadonlyMap<string, string>; // tensor path -> stored name
  readonly spare: ReadonlySet<string>; // tensor paths of which something that serves as well was found
  readonly missing: readonly string[]; // tensor paths
  readonly dropped: readonly string[]; // stored names that are known and that a model with an answer head has no place for
  readonly unexpected: readonly string[]; // stored names that nobody knows
}

const bertNames: Rules = [...oldNames, [/^(embeddings|encoder|pooler)\./, 'bert.$1.']];

/** Finds the arrays at `paths` in a checkpoint of this kind, or of a BERT, whoever wrote it. @throws CheckpointError where two stored names mean one array. */
export function match(kind: Backbone, keyOf: KeyOf, paths: Iterable<string>, checkpoint: Checkpoint, init: 'own' | 'bert'): Match {
  const stored = canonical(kind, checkpoint, init);
  const instead = new Map([...stored].map(([name, key]) => [applied(kind.keys.spare, name), key]));
  const found = new Map<string, string>();
  const spare = new Set<string>();
  const missing: string[] = [];
  for (const path of paths) {
    const name = keyOf(path);
    const key = stored.get(name) ?? instead.get(name);
    if (key === undefined) missing.push(path);
    else {
      found.set(path, key);
      if (!stored.has(name)) spare.add(path);
    }
  }
  const used = new Set(found.values());
  const rest = new Map([...stored].filter(([, key]) => !used.has(key)).map(([name, key]) => [key, name]));
  const known = (name: string) => kind.keys.dropped.some((pattern) => pattern.test(name));
  const left = [...checkpoint.tensors.keys()].filter((key) => !used.has(key)).sort();
  // Of a BERT only what the model has a place for is wanted.
  const drops = (key: string) => init === 'bert' || known(rest.get(key) ?? key);
  return { found, spare, missing, dropped: left.filter(drops), unexpected: left.filter((key) => !drops(key)) };
}

/** Canonical name -> stored name. */
function canonical(kind: Backbone, { name: file, tensors }: Checkpoint, init: 'own' | 'bert'): Map<string, string> {
  const stored = new Map<string, string>();
  const put = (name: string, key: string): void => {
    const other = stored.get(name);
    if (other !== undefined && other !== key) throw new CheckpointError(`${file}: '${other}' and '${key}' both mean '${name}' of ${kind.name}. Keep one of them.`);
    stored.set(name, key);
  };
  for (const key of tensors.keys()) {
    if (init === 'own') put(applied(kind.keys.renames, key), key);
    else for (const rules of kind.keys.bert) put(applied(rules, applied(bertNames, key)), key);
  }
  return stored;
}

/** Whether these are the arrays of a BERT without anything visual. */
export function isBert(names: Iterable<string>): boolean {
  const known = new Set([...names].map((name) => applied(bertNames, name)));
  const visual = [...known].some((name) => /visual|visn|vlbert|object/.test(name));
  return !visual && known.has('bert.embeddings.word_embeddings.weight') && known.has('bert.encoder.layer.0.attention.self.query.weight');
}
