import type { Random } from '@espalier/core';
import { attributeNames, attributes, type Attribute } from './attributes.ts';
import { attributeSets, descriptionsOf, fits, kindOf, phrase, pick, uniqueDescriptions, type Description } from './phrases.ts';
import { related, relations, type Scene, type SceneObject } from './scene.ts';

/** A question the scene answers. Answers are balanced within a group: the questions that differ in names only. */
export interface Candidate {
  readonly group: string; // 'count/color'
  readonly answers: number; // different answers the group has
  readonly answer: string;
  readonly texts: readonly string[]; // wordings of one question
}

export const families = ['attribute', 'existence', 'negation', 'count', 'comparison', 'relation'] as const;
export type Family = (typeof families)[number];

const yesNo = (truth: boolean) => (truth ? 'yes' : 'no');

/** 'a circle', 'red', 'large': an attribute's value as a predicate. */
const predicate = (name: Attribute, value: string) => (name === 'shape' ? `a ${value}` : value);

/** A random description of each object that fits no other; objects that have a twin are left out. */
function named(scene: Scene, rng: Random, except?: Attribute): { object: SceneObject; description: Description }[] {
  return scene.objects.flatMap((object) => {
    const all = uniqueDescriptions(scene.objects, object, except);
    const description = all[rng.integer(all.length)];
    return description ? [{ object, description }] : [];
  });
}

/** Whether a description is near to the scene: each attribute alone says something of it, so that a 'no' takes a look at the combination. */
const plausible = (scene: Scene, description: Description) =>
  kindOf(description).split('+').length < 2 || scene.objects.some((o) => attributeNames.some((name) => description[name] === o[name]));

const open = (name: Attribute, what: string) => [`what ${name} is ${what}?`, `what is the ${name} of ${what}?`];

function attributeQuestions(scene: Scene): Candidate[] {
  return scene.objects.flatMap((object) =>
    attributeNames.flatMap((name) =>
      uniqueDescriptions(scene.objects, object, name).map((description) => ({
        group: name,
        answers: attributes[name].length,
        answer: object[name],
        texts: open(name, `the ${phrase(description)}`),
      })),
    ),
  );
}

/** Each description that is worth asking about, with the number of objects it fits. */
function counted(scene: Scene, sets: readonly (readonly Attribute[])[]) {
  return sets
    .flatMap(descriptionsOf)
    .map((description) => ({ description, count: scene.objects.filter((o) => fits(o, description)).length }))
    .filter(({ description, count }) => count > 0 || plausible(scene, description));
}

function existenceQuestions(scene: Scene): Candidate[] {
  return counted(scene, attributeSets.slice(1)).map(({ description, count }) => {
    const a = `a ${phrase(description)}`;
    return {
      group: kindOf(description),
      answers: 2,
      answer: yesNo(count > 0),
      texts: [`is there ${a}?`, `is there ${a} in the image?`, `does the image contain ${a}?`, `is ${a} present?`],
    };
  });
}

function negationQuestions(scene: Scene, rng: Random): Candidate[] {
  const none = counted(scene, attributeSets.slice(1)).map(({ description, count }) => {
    const no = `no ${phrase(description)}`;
    return { group: `none/${kindOf(description)}`, answers: 2, answer: yesNo(count === 0), texts: [`is there ${no}?`, `does the image contain ${no}?`, `is ${no} present?`] };
  });
  const verify = attributeNames.flatMap((name) =>
    named(scene, rng, name).flatMap(({ object, description }) =>
      attributes[name].map((value) => ({
        group: `verify/${name}`,
        answers: 2,
        answer: yesNo(object[name] !== value),
        texts: [`is the ${phrase(description)} not ${predicate(name, value)}?`],
      })),
    ),
  );
  const except = attributeNames.flatMap((other) =>
    attributes[other].flatMap((value) => {
      const [only, second] = scene.objects.filter((o) => o[other] !== value);
      if (!only || second || scene.objects.length < 2) return [];
      return attributeNames
        .filter((name) => name !== other)
        .map((name) => ({ group: `except/${name}`, answers: attributes[name].length, answer: only[name], texts: open(name, `the object that is not ${predicate(other, value)}`) }));
    }),
  );
  return [...none, ...verify, ...except];
}

function countQuestions(scene: Scene): Candidate[] {
  return counted(scene, attributeSets.slice(0, -1)).map(({ description, count }) => {
    const kind = kindOf(description);
    const many = `how many ${phrase(description, true)}`;
    return { group: kind, answers: kind === 'any' ? 5 : 6, answer: String(count), texts: [`${many} are there?`, `${many} are in the image?`] };
  });
}

function comparisonQuestions(scene: Scene, rng: Random): Candidate[] {
  const numbers = attributeNames.flatMap((name) => {
    const all = counted(scene, [[name]]);
    return all.flatMap((a) =>
      all.flatMap((b) => {
        if (a === b || a.count + b.count === 0) return [];
        const [x, y] = [phrase(a.description, true), phrase(b.description, true)];
        return [
          { group: `more/${name}`, answers: 2, answer: yesNo(a.count > b.count), texts: [`are there more ${x} than ${y}?`] },
          { group: `fewer/${name}`, answers: 2, answer: yesNo(a.count < b.count), texts: [`are there fewer ${x} than ${y}?`] },
          { group: `equal/${name}`, answers: 2, answer: yesNo(a.count === b.count), texts: [`are there as many ${x} as ${y}?`, `is the number of ${x} the same as the number of ${y}?`] },
        ];
      }),
    );
  });
  const same = attributeNames.flatMap((name) => {
    const all = named(scene, rng, name);
    return all.flatMap((a) =>
      all
        .filter((b) => b !== a)
        .map((b) => {
          const [x, y] = [`the ${phrase(a.description)}`, `the ${phrase(b.description)}`];
          return { group: `same/${name}`, answers: 2, answer: yesNo(a.object[name] === b.object[name]), texts: [`is ${x} the same ${name} as ${y}?`, `do ${x} and ${y} have the same ${name}?`] };
        }),
    );
  });
  return [...numbers, ...same];
}

function relationQuestions(scene: Scene, rng: Random): Candidate[] {
  const all = named(scene, rng);
  return all.flatMap((b) => {
    const y = `the ${phrase(b.description)}`;
    return relations.flatMap((relation) => {
      const others = scene.objects.filter((o) => o !== b.object).map((object) => ({ object, truth: related(scene, object, relation, b.object) }));
      const verify = all.flatMap((a) => {
        const truth = others.find(({ object }) => object === a.object)?.truth;
        return truth === undefined ? [] : [{ group: 'verify', answers: 2, answer: yesNo(truth), texts: [`is the ${phrase(a.description)} ${relation} ${y}?`] }];
      });
      const [only, second] = others.filter(({ truth }) => truth !== false);
      const which =
        only?.truth && !second
          ? attributeNames.map((name) => ({ group: `which/${name}`, answers: attributes[name].length, answer: only.object[name], texts: open(name, `the object ${relation} ${y}`) }))
          : [];
      const exists = attributeSets.slice(1).flatMap((names) =>
        [...new Map(others.map(({ object }) => [phrase(pick(object, names)), pick(object, names)])).values()].flatMap((description) => {
          const truths = others.filter(({ object }) => fits(object, description)).map(({ truth }) => truth);
          const known = truths.includes(true) || !truths.includes(undefined);
          return known ? [{ group: `exists/${kindOf(description)}`, answers: 2, answer: yesNo(truths.includes(true)), texts: [`is there a ${phrase(description)} ${relation} ${y}?`] }] : [];
        }),
      );
      return [...verify, ...which, ...exists];
    });
  });
}

const candidatesOf: Readonly<Record<Family, (scene: Scene, rng: Random) => Candidate[]>> = {
  attribute: attributeQuestions,
  existence: existenceQuestions,
  negation: negationQuestions,
  count: countQuestions,
  comparison: comparisonQuestions,
  relation: relationQuestions,
};

export interface Asked {
  readonly family: Family;
  readonly question: string;
  readonly answer: string;
}

/** How far above its even part of a group an answer may be: 5 %, and one question. */
const SLACK = 1.05;

/**
 * Asks questions about one scene after the other. Within a group ('how many COLOR objects are there?') it takes the
 * answer given least so far, and passes over a group whose possible answers have all been given too often, so that the
 * wording tells little about the answer. What it asks depends on the scenes before, in their order.
 */
export function interviewer(): (scene: Scene, family: Family, rng: Random) => Asked | undefined {
  const given = new Map<string, number>(); // 'family/group' and 'family/group=answer'
  const times = (key: string) => given.get(key) ?? 0;
  return (scene, family, rng) => {
    const groups = new Map<string, Map<string, Candidate[]>>();
    for (const candidate of candidatesOf[family](scene, rng)) {
      const group = `${family}/${candidate.group}`;
      const key = `${group}=${candidate.answer}`;
      if (times(key) > SLACK * (times(group) / candidate.answers) + 1) continue;
      const answers = groups.get(group) ?? new Map<string, Candidate[]>();
      groups.set(group, answers);
      const same = answers.get(key);
      if (same) same.push(candidate);
      else answers.set(key, [candidate]);
    }
    const all = [...groups];
    const chosen = all[rng.integer(all.length)];
    if (!chosen) return undefined;
    const [group, answers] = chosen;
    const least = Math.min(...[...answers.keys()].map(times));
    const rarest = [...answers].filter(([key]) => times(key) === least);
    const [key, candidates] = rarest[rng.integer(rarest.length)]!;
    const { answer, texts } = candidates[rng.integer(candidates.length)]!;
    given.set(group, times(group) + 1);
    given.set(key, times(key) + 1);
    return { family, question: texts[rng.integer(texts.length)]!, answer };
  };
}
