import { didYouMean, EspalierError } from '@espalier/core';
import { lxmertBackbone } from './lxmert/index.ts';
import { visualBertBackbone } from './visual-bert/index.ts';
import { vlBertBackbone } from './vl-bert/index.ts';
import type { Backbone } from './vqa-model.ts';

/** Every backbone by name. */
export const backbones: ReadonlyMap<string, Backbone> = new Map([vlBertBackbone, lxmertBackbone, visualBertBackbone].map((b) => [b.name, b]));

/** The backbone of a name, also as `model_type` spells it. @throws EspalierError with the nearest names. */
export function backbone(name: string): Backbone {
  const found = backbones.get(name) ?? [...backbones.values()].find((b) => b.modelType === name);
  if (!found) throw new EspalierError(`no backbone '${name}'.${didYouMean(name, backbones.keys())} There are ${[...backbones.keys()].join(', ')}.`);
  return found;
}
