import { EspalierError } from '@espalier/core';
import type { Backbone, NamedArray, NamedArrays } from '@espalier/vl-models';

/** A name shared by all axes that must agree, a number with the keys it is from, or any size. */
type Axis = string | { readonly size: number; readonly by: string } | undefined;
interface Layout {
  readonly axes: Readonly<Record<string, readonly Axis[]>>;
  readonly ids: Readonly<Record<string, string>>; // tensor -> the key that says how many ids there are
}

const layouts: Readonly<Record<string, (sized: (...keys: string[]) => Axis) => Layout>> = {
  lxmert: (sized) => ({
    axes: {
      input_ids: ['samples', 'words'], token_type_ids: ['samples', 'words'], attention_mask: ['samples', 'words'],
      visual_feats: ['samples', 'regions', sized('visual_feat_dim')], visual_pos: ['samples', 'regions', sized('visual_pos_dim')], visual_attention_mask: ['samples', 'regions'],
    },
    ids: { input_ids: 'vocab_size', token_type_ids: 'type_vocab_size' },
  }),
  'visual-bert': (sized) => ({
    axes: {
      input_ids: ['samples', 'words'], token_type_ids: ['samples', 'words'], attention_mask: ['samples', 'words'],
      visual_embeds: ['samples', 'regions', sized('visual_embedding_dim')], visual_attention_mask: ['samples', 'regions'], visual_token_type_ids: ['samples', 'regions'],
    },
    ids: { input_ids: 'vocab_size', token_type_ids: 'type_vocab_size', visual_token_type_ids: 'type_vocab_size' },
  }),
  'vl-bert': (sized) => ({
    axes: { boxes: ['samples', 'objects', sized('4', 'feat_dim')], im_info: ['samples', undefined], question: ['samples', 'words'] },
    ids: { question: 'vocab_size' },
  }),
};

/** How wide the regions of given tensors are; undefined where there are none. */
export function regionWidth(kind: Backbone, arrays: NamedArrays): number | undefined {
  const [name, before] = WIDTHS[kind.name] ?? ['', 0];
  const width = arrays.get(name)?.shape[2];
  return width === undefined || width <= before ? undefined : width - before;
}
const WIDTHS: Readonly<Record<string, readonly [tensor: string, before: number]>> = { lxmert: ['visual_feats', 0], 'visual-bert': ['visual_embeds', 0], 'vl-bert': ['boxes', 4] };

/** @throws EspalierError naming the first tensor that does not fit the configuration or the others, with what was found and expected. Tensors that are missing are left to `inputsFrom`. */
export function checkInputs(kind: Backbone, arrays: NamedArrays, config: Readonly<Record<string, unknown>>): void {
  const sized = (...keys: string[]): Axis => ({ size: keys.reduce((sum, key) => sum + Number(config[key] ?? key), 0), by: keys.join(' + ') });
  const layout = layouts[kind.name]?.(sized);
  if (!layout) return;
  const known = new Map<string, number>();
  for (const [name, axes] of Object.entries(layout.axes)) {
    const found = arrays.get(name);
    if (!found) continue;
    const fits = found.shape.length === axes.length && axes.every((axis, i) => {
      const size = found.shape[i]!;
      if (typeof axis === 'string' && !known.has(axis)) known.set(axis, size);
      return axis === undefined || size === (typeof axis === 'string' ? known.get(axis) : axis.size);
    });
    const expected = axes.map((axis) => (axis === undefined ? 'any' : typeof axis === 'string' ? `${axis}${known.has(axis) ? ` ${known.get(axis)}` : ''}` : `${axis.by} ${axis.size}`));
    if (!fits) throw new EspalierError(`'${name}' has shape [${found.shape.join(', ')}], expected [${expected.join(', ')}]. Sizes by name are the configuration's, the others those of the tensors before it.`);
  }
  for (const [name, key] of Object.entries(layout.ids)) checkIds(name, arrays.get(name), key, Number(config[key]));
  const words = known.get('words');
  const most = Number(config['max_position_embeddings']);
  if ('input_ids' in layout.axes && words !== undefined && words > most) throw new EspalierError(`'input_ids' has ${words} words per sample, expected at most ${most} (max_position_embeddings)`);
}

function checkIds(name: string, found: NamedArray | undefined, key: string, count: number): void {
  const bad = found === undefined ? -1 : Array.from(found.data, Number).findIndex((id) => !Number.isInteger(id) || id < 0 || id >= count);
  if (bad >= 0) throw new EspalierError(`'${name}' holds ${Number(found?.data[bad])} at place ${bad}, expected ids from 0 to ${count - 1} (${key} ${count})`);
}
