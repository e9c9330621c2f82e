/** What objects of a scene differ in; the words are those of questions and answers. */
export const attributes = {
  size: ['small', 'large'],
  color: ['black', 'gray', 'red', 'green', 'blue', 'yellow', 'teal', 'brown'],
  shape: ['circle', 'rectangle', 'triangle'],
} as const;

export type Attribute = keyof typeof attributes;
export type Size = (typeof attributes.size)[number];
export type Color = (typeof attributes.color)[number];
export type Shape = (typeof attributes.shape)[number];

export interface Attributes {
  readonly size: Size;
  readonly color: Color;
  readonly shape: Shape;
}

/** In the order of an English phrase. */
export const attributeNames = ['size', 'color', 'shape'] as const satisfies readonly Attribute[];

/** Red, green, blue of each colour as easy-VQA draws it. */
export const rgbOf: Readonly<Record<Color, readonly [number, number, number]>> = {
  black: [0, 0, 0],
  gray: [128, 128, 128],
  red: [255, 0, 0],
  green: [0, 255, 0],
  blue: [0, 0, 255],
  yellow: [255, 255, 0],
  teal: [0, 128, 128],
  brown: [165, 42, 42],
};

/** Classes of a grid cell: background, and each (shape, colour, size): 1 + 3 * 8 * 2 = 49. */
export const cellClasses = 1 + attributes.shape.length * attributes.color.length * attributes.size.length;

/** 1 + (shape * 8 + colour) * 2 + size, each by its place in `attributes`; 0 is background. */
export function cellClassOf({ shape, color, size }: Attributes): number {
  const place = attributes.shape.indexOf(shape) * attributes.color.length + attributes.color.indexOf(color);
  return 1 + place * attributes.size.length + attributes.size.indexOf(size);
}

/** The answers of generated questions; the first 13 are easy-VQA's. */
export const shapesAnswers: readonly string[] = ['yes', 'no', ...attributes.shape, ...attributes.color, ...attributes.size, '0', '1', '2', '3', '4', '5'];
