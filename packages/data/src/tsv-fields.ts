import { DataError } from './errors.ts';

/** What every TSV of regions tells of an image; n boxes. */
export interface RegionRow {
  readonly image: string; // 'COCO_train2014_000000000009'
  readonly width: number; // pixels
  readonly height: number;
  readonly boxes: Float32Array; // [n, 4] x1 y1 x2 y2 in pixels
  readonly features: Float32Array; // [n, F]
}

const TAB = 9;

/** The fields of a line, as bytes. `where` names file and line. @throws DataError when there are not as many as `names`. */
export function tsvFields(line: Buffer, names: readonly string[], where: string): readonly Buffer[] {
  const fields = splitTabs(line);
  if (fields.length !== names.length)
    throw new DataError(`${where}: ${fields.length} fields, expected ${names.length} separated by tabs: ${names.join(', ')}. Is it another kind of TSV, or was it cut off?`);
  return fields;
}

/** The bytes between tabs. */
export function splitTabs(line: Buffer): readonly Buffer[] {
  const fields: Buffer[] = [];
  const end = line.at(-1) === 13 ? line.length - 1 : line.length; // a carriage return of Windows line ends
  for (let from = 0; from <= end; ) {
    const tab = line.indexOf(TAB, from);
    const until = tab < 0 || tab > end ? end : tab;
    fields.push(line.subarray(from, until));
    from = until + 1;
  }
  return fields;
}

/** Boxes and features of `count` regions. @throws DataError for a wrong length, a number that is not finite, a box outside of its image. */
export function regionArrays(
  { boxes, features }: { readonly boxes: string | undefined; readonly features: string | undefined },
  { count, width, height }: { readonly count: number; readonly width: number; readonly height: number },
  where: string,
  hint: string,
): Pick<RegionRow, 'boxes' | 'features'> {
  const wide = decoded(features, 'features', where);
  if (wide.length % (4 * count)) throw new DataError(`${where}, field features: ${wide.length} bytes cannot be ${count} rows of float32. Was the line cut off?`);
  const corners = floats(decoded(boxes, 'boxes', where), 'boxes', 4 * count, where);
  corners.forEach((x, i) => {
    const share = x / (i % 2 ? height : width);
    if (share < -1e-5 || share > 1 + 1e-5) throw new DataError(`${where}, field boxes: box ${Math.floor(i / 4)} reaches ${x} outside of the ${width}x${height} image. ${hint}`);
  });
  return { boxes: corners, features: floats(wide, 'features', wide.length / 4, where) };
}

export function whole(text: string | undefined, field: string, where: string): number {
  const value = Number(text);
  if (!Number.isInteger(value) || value < 1) throw new DataError(`${where}, field ${field}: '${text}' is no whole number of at least 1`);
  return value;
}

/** A copy of its own buffer, so that any number type may be viewed in it. */
export function decoded(text: string | undefined, field: string, where: string): Uint8Array<ArrayBuffer> {
  if (text === undefined || !/^[A-Za-z0-9+/]*={0,2}$/.test(text)) throw new DataError(`${where}, field ${field}: not base64`);
  return new Uint8Array(Buffer.from(text, 'base64'));
}

export function floats(bytes: Uint8Array<ArrayBuffer>, field: string, count: number, where: string): Float32Array {
  if (bytes.length !== 4 * count) throw new DataError(`${where}, field ${field}: ${bytes.length} bytes, expected ${4 * count} (${count} float32)`);
  const values = new Float32Array(bytes.buffer);
  const bad = values.findIndex((x) => !Number.isFinite(x));
  if (bad >= 0) throw new DataError(`${where}, field ${field}: value ${bad} is ${values[bad]}. Extract the features of this image again.`);
  return values;
}
