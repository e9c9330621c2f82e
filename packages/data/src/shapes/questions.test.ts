import { random } from '@espalier/core';
import { describe, expect, it } from 'vitest';
import { captionHolds, captionOf, corruptCaption } from './captions.ts';
import { sceneAt } from './generation.ts';
import type { Scene, SceneObject } from './scene.ts';
import { shapes } from './shapes.ts';

type Test = (o: SceneObject) => boolean;
const NOUN = '((?:small |large )?(?:(?:black|gray|red|green|blue|yellow|teal|brown) )?(?:circle|rectangle|triangle|object)s?)';
const RELATION = '(left of|right of|above|below)';

/** Whether an object is what a phrase says, told from its words alone. */
const is = (words: string): Test => (o) => words.split(' ').every((word) => ['a', 'object', 'objects'].includes(word) || [o.size, o.color, o.shape].some((value) => value === word || `${value}s` === word));

/** Which side a centre is on; the generator's margins make this enough. */
function side(a: SceneObject, relation: string, b: SceneObject): boolean {
  if (relation === 'left of') return a.x < b.x;
  if (relation === 'right of') return a.x > b.x;
  return relation === 'above' ? a.y < b.y : a.y > b.y;
}

function the(objects: readonly SceneObject[], test: Test, question: string): SceneObject {
  const found = objects.filter(test);
  if (found.length !== 1) throw new Error(`'${question}' speaks of one object, there are ${found.length}`);
  return found[0]!;
}

const yes = (truth: boolean) => (truth ? 'yes' : 'no');
const attribute = (o: SceneObject, name: string) => (name === 'color' ? o.color : name === 'shape' ? o.shape : o.size);

/** Answers by reading the words, written apart from the generator. Patterns are tried in order. */
const readings: readonly (readonly [RegExp, (objects: readonly SceneObject[], m: readonly string[], q: string) => string])[] = [
  [new RegExp(`^what (?:is the )?(color|shape|size) (?:is|of) the object that is not (?:a )?(\\w+)\\?$`), (o, m, q) => attribute(the(o, (x) => !is(m[2]!)(x), q), m[1]!)],
  [new RegExp(`^what (?:is the )?(color|shape|size) (?:is|of) the object ${RELATION} the ${NOUN}\\?$`), (o, m, q) => { const b = the(o, is(m[3]!), q); return attribute(the(o, (x) => x !== b && side(x, m[2]!, b), q), m[1]!); }],
  [new RegExp(`^what (?:is the )?(color|shape|size) (?:is|of) the ${NOUN}\\?$`), (o, m, q) => attribute(the(o, is(m[2]!), q), m[1]!)],
  [new RegExp(`^is there a ${NOUN} ${RELATION} the ${NOUN}\\?$`), (o, m, q) => { const b = the(o, is(m[3]!), q); return yes(o.some((x) => x !== b && is(m[1]!)(x) && side(x, m[2]!, b))); }],
  [new RegExp(`^(?:is there no|does the image contain no|is no) ${NOUN}(?: present)?\\?$`), (o, m) => yes(!o.some(is(m[1]!)))],
  [new RegExp(`^(?:is there a|does the image contain a|is a) ${NOUN}(?: present| in the image)?\\?$`), (o, m) => yes(o.some(is(m[1]!)))],
  [new RegExp(`^is the ${NOUN} not (?:a )?(\\w+)\\?$`), (o, m, q) => yes(!is(m[2]!)(the(o, is(m[1]!), q)))],
  [new RegExp(`^how many ${NOUN} are (?:there|in the image)\\?$`), (o, m) => String(o.filter(is(m[1]!)).length)],
  [new RegExp(`^are there (more|fewer) ${NOUN} than ${NOUN}\\?$`), (o, m) => { const [a, b] = [o.filter(is(m[2]!)).length, o.filter(is(m[3]!)).length]; return yes(m[1] === 'more' ? a > b : a < b); }],
  [new RegExp(`^(?:are there as many|is the number of) ${NOUN} (?:as|the same as the number of) ${NOUN}\\?$`), (o, m) => yes(o.filter(is(m[1]!)).length === o.filter(is(m[2]!)).length)],
  [new RegExp(`^is the ${NOUN} the same (color|shape|size) as the ${NOUN}\\?$`), (o, m, q) => yes(attribute(the(o, is(m[1]!), q), m[2]!) === attribute(the(o, is(m[3]!), q), m[2]!))],
  [new RegExp(`^do the ${NOUN} and the ${NOUN} have the same (color|shape|size)\\?$`), (o, m, q) => yes(attribute(the(o, is(m[1]!), q), m[3]!) === attribute(the(o, is(m[2]!), q), m[3]!))],
  [new RegExp(`^is the ${NOUN} ${RELATION} the ${NOUN}\\?$`), (o, m, q) => yes(side(the(o, is(m[1]!), q), m[2]!, the(o, is(m[3]!), q)))],
];

function answer(question: string, { objects }: Scene): string {
  for (const [pattern, read] of readings) {
    const match = pattern.exec(question);
    if (match) return read(objects, match, question);
  }
  throw new Error(`no reading of '${question}'`);
}

describe('questions', () => {
  it('are answered as an independent reader of their words answers', () => {
    const data = shapes({ train: 600, test: 100, seed: 11, perFamily: 2 });
    const records = [...data.splits.train, ...data.splits.validation, ...data.splits.test!];
    expect(records.length).toBeGreaterThan(6000);
    const wrong = records.filter((r) => answer(r.question, data.scene(r.image)) !== data.answers[r.scores[0]![0]]);
    expect(wrong).toEqual([]);
  });
});

/** Whether a caption's words are true of a scene; undefined when centres are on the side but boxes are not apart. */
function reads(text: string, { objects }: Scene): boolean {
  const match = new RegExp(`^a ${NOUN}(?: ${RELATION} a ${NOUN})?$`).exec(text);
  if (!match) throw new Error(`no reading of '${text}'`);
  const [, subject = '', relation, object] = match;
  if (!relation || !object) return objects.some(is(subject));
  return objects.some((a) => is(subject)(a) && objects.some((b) => b !== a && is(object)(b) && side(a, relation, b)));
}

describe('captions', () => {
  const scenes = Array.from({ length: 400 }, (_, i) => sceneAt(2, 'captions', i));

  it('are true, and false once corrupted', () => {
    const changes = { relation: 0, attribute: 0 };
    for (const [i, scene] of scenes.entries()) {
      const caption = captionOf(scene, random(2, 'caption', i));
      expect(captionHolds(caption, scene)).toBe(true);
      expect(reads(caption.text, scene)).toBe(true);
      const corrupt = corruptCaption(caption, scene, random(2, 'corrupt', i));
      expect(corrupt.text).not.toBe(caption.text);
      expect(captionHolds(corrupt, scene)).toBe(false);
      expect(reads(corrupt.text, scene)).toBe(false);
      changes[corrupt.relation === caption.relation ? 'attribute' : 'relation']++;
    }
    expect(changes.relation).toBeGreaterThan(40);
    expect(changes.attribute).toBeGreaterThan(150);
  });

  it('speak of one and of two objects, with every attribute', () => {
    const texts = scenes.map((scene, i) => captionOf(scene, random(2, 'caption', i)).text);
    expect(texts.filter((t) => / (left of|right of|above|below) /.test(t)).length).toBeGreaterThan(150);
    for (const word of ['small', 'teal', 'triangle', 'object', 'above']) expect(texts.some((t) => t.includes(word))).toBe(true);
    expect(captionOf(scenes[0]!, random(1))).toEqual(captionOf(scenes[0]!, random(1)));
  });
});
