import { attributeNames, attributes, type Attribute, type Attributes } from './attributes.ts';

/** Some attributes; an object fits when it has all of them. No attributes fit every object. */
export type Description = { readonly [A in Attribute]?: Attributes[A] };

export function fits(object: Attributes, description: Description): boolean {
  return attributeNames.every((name) => description[name] === undefined || description[name] === object[name]);
}

/** The attributes a description names, as 'color+shape'; 'any' for none. */
export function kindOf(description: Description): string {
  return attributeNames.filter((name) => description[name] !== undefined).join('+') || 'any';
}

/** 'small red circle', 'red object'; the plural ends in s. */
export function phrase({ size, color, shape }: Description, plural = false): string {
  return [size, color, (shape ?? 'object') + (plural ? 's' : '')].filter((word) => word !== undefined).join(' ');
}

/** All descriptions that name exactly these attributes. */
export function descriptionsOf(names: readonly Attribute[]): Description[] {
  return names.reduce<Description[]>((list, name) => list.flatMap((d) => attributes[name].map((value): Description => ({ ...d, [name]: value }))), [{}]);
}

/** The object's attributes, only these. */
export function pick(object: Attributes, names: readonly Attribute[]): Description {
  return names.reduce<Description>((d, name) => ({ ...d, [name]: object[name] }), {});
}

/** All sets of attributes, the empty one first. */
export const attributeSets: readonly (readonly Attribute[])[] = [
  [], ['size'], ['color'], ['shape'], ['size', 'color'], ['size', 'shape'], ['color', 'shape'], ['size', 'color', 'shape'],
];

/** The descriptions of `object` that no other of `objects` fits and that do not name `except`. */
export function uniqueDescriptions<T extends Attributes>(objects: readonly T[], object: T, except?: Attribute): Description[] {
  return attributeSets
    .filter((names) => except === undefined || !names.includes(except))
    .map((names) => pick(object, names))
    .filter((description) => objects.every((other) => other === object || !fits(other, description)));
}
