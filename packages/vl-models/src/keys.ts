/** The checkpoint's key of a tensor path such as 'text.0.attention.query.kernel'. */
export type KeyOf = (path: string) => string;

/** Replacements applied in order. */
export type Rules = readonly (readonly [from: RegExp, to: string])[];

/** How the arrays of a kind of model are called in files. The canonical name is the one its main publisher writes today. */
export interface CheckpointKeys {
  /** The canonical key of every tensor path. */
  of(config: unknown): KeyOf;
  /** Other writers' keys to canonical ones. */
  readonly renames: Rules;
  /** Canonical keys to those of the authors' own files, where these differ. */
  readonly original: Rules;
  /** What serves for a canonical key that a file lacks, such as the head of pre-training. */
  readonly spare: Rules;
  /** Canonical keys that a model with an answer head has no place for. */
  readonly dropped: readonly RegExp[];
  /** Keys of a BERT to canonical ones; a key may go to two places. */
  readonly bert: readonly Rules[];
  /** Tensor paths of what a BERT must have to start this kind. */
  readonly fromBert: RegExp;
  /** Tables with more rows here than a BERT's: the others are drawn. */
  readonly longerThanBert?: RegExp;
}

export const applied = (rules: Rules, key: string): string => rules.reduce((k, [from, to]) => k.replace(from, to), key);

/** Old writers' names: what data parallel training puts in front, and TensorFlow's names of a norm's parameters. */
export const oldNames: Rules = [
  [/^module\./, ''],
  [/\.gamma$/, '.weight'],
  [/\.beta$/, '.bias'],
];

/** Makes a naming function from rules applied in order to the path of a place; its parts become torch's weight and bias. */
export function naming(rules: Rules): KeyOf {
  const parts: Record<string, string> = { kernel: 'weight', bias: 'bias', gamma: 'weight', beta: 'bias', table: 'weight' };
  return (path) => {
    const dot = path.lastIndexOf('.');
    const part = parts[path.slice(dot + 1)];
    if (part === undefined) throw new Error(`'${path}' does not end in a part of a place`);
    return `${applied(rules, path.slice(0, dot))}.${part}`;
  };
}

/** Names inside a BERT layer, the same in every model. */
export const bertLayer: Rules = [
  [/\.attention\.(query|key|value)$/, '.attention.self.$1'],
  [/\.attention\.output$/, '.attention.output.dense'],
  [/\.attention\.norm$/, '.attention.output.LayerNorm'],
  [/\.ffn\.up$/, '.intermediate.dense'],
  [/\.ffn\.down$/, '.output.dense'],
  [/\.ffn\.norm$/, '.output.LayerNorm'],
];
