import type { Random } from '@espalier/core';
import { attributeNames, attributes } from './attributes.ts';
import { fits, phrase, pick, type Description } from './phrases.ts';
import { related, relations, type Relation, type Scene } from './scene.ts';

/** 'a small red circle left of a large blue triangle', with what it claims. */
export interface Caption {
  readonly text: string;
  readonly subject: Description;
  readonly relation?: Relation;
  readonly object?: Description;
}

function captioned(subject: Description, relation?: Relation, object?: Description): Caption {
  if (!relation || !object) return { text: `a ${phrase(subject)}`, subject };
  return { text: `a ${phrase(subject)} ${relation} a ${phrase(object)}`, subject, relation, object };
}

/** Whether the scene has what the caption claims: true, false beyond doubt, or undefined when a position is too close to tell. */
export function captionHolds({ subject, relation, object }: Caption, scene: Scene): boolean | undefined {
  const subjects = scene.objects.filter((o) => fits(o, subject));
  if (!relation || !object) return subjects.length > 0;
  const truths = subjects.flatMap((a) => scene.objects.filter((b) => b !== a && fits(b, object)).map((b) => related(scene, a, relation, b)));
  return truths.includes(true) ? true : truths.includes(undefined) ? undefined : false;
}

/** A true caption of one or two objects; each attribute is named with probability 3/4, at least one of an object. */
export function captionOf(scene: Scene, rng: Random): Caption {
  const describe = (i: number) => {
    const names = attributeNames.filter(() => rng.uniform() < 0.75);
    return pick(scene.objects[i]!, names.length ? names : [attributeNames[rng.integer(attributeNames.length)]!]);
  };
  const pairs = scene.objects.flatMap((a, i) => scene.objects.flatMap((b, j) => relations.filter((r) => i !== j && related(scene, a, r, b)).map((r) => [i, r, j] as const)));
  const pair = pairs[rng.integer(pairs.length)];
  if (!pair || rng.uniform() < 0.25) return captioned(describe(rng.integer(scene.objects.length)));
  const [i, relation, j] = pair;
  return captioned(describe(i), relation, describe(j));
}

/**
 * A false caption: one attribute or the relation changed so that the scene contradicts it beyond doubt. It is drawn from
 * the kinds of change first, so that relations change as often as attributes. When every such change is true as well
 * ('a small object' beside a large one), the subject is given a colour that the scene lacks.
 */
export function corruptCaption(caption: Caption, scene: Scene, rng: Random): Caption {
  const { subject, relation, object } = caption;
  const changed = (description: Description) =>
    attributeNames.flatMap((name) => (description[name] === undefined ? [] : attributes[name].filter((v) => v !== description[name]).map((v) => ({ ...description, [name]: v }))));
  const kinds = [
    changed(subject).map((d) => captioned(d, relation, object)),
    object ? changed(object).map((d) => captioned(subject, relation, d)) : [],
    object ? relations.filter((r) => r !== relation).map((r) => captioned(subject, r, object)) : [],
  ]
    .map((list) => list.filter((c) => captionHolds(c, scene) === false))
    .filter((list) => list.length > 0);
  const kind = kinds[rng.integer(kinds.length)] ?? lacking(scene).map((color) => captioned({ ...subject, color }, relation, object));
  return kind[rng.integer(kind.length)]!;
}

/** Never empty: there are eight colours and at most five objects. */
const lacking = (scene: Scene) => attributes.color.filter((color) => scene.objects.every((o) => o.color !== color));
