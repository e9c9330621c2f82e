import { DataError } from './errors.ts';

/** One image of LXMERT's `*_obj36.tsv`; n boxes. */
export interface Obj36Row {
  readonly image: string; // 'COCO_train2014_000000000009'
  readonly width: number; // pixels
  readonly height: number;
  readonly objects: Int32Array; // [n] Visual Genome object ids
  readonly objectScores: Float32Array; // [n]
  readonly attributes: Int32Array; // [n]
  readonly attributeScores: Float32Array; // [n]
  readonly boxes: Float32Array; // [n, 4] x1 y1 x2 y2 in pixels
  readonly features: Float32Array; // [n, F]
}

export const OBJ36_FIELDS = ['img_id', 'img_h', 'img_w', 'objects_id', 'objects_conf', 'attrs_id', 'attrs_conf', 'num_boxes', 'boxes', 'features'] as const;

const TAB = 9;

/** The fields of a line, as bytes. `where` names file and line. @throws DataError when there are not ten. */
export function obj36Fields(line: Buffer, where: string): readonly Buffer[] {
  const fields: Buffer[] = [];
  const end = line.at(-1) === 13 ? line.length - 1 : line.length; // a carriage return of Windows line ends
  for (let from = 0; from <= end; ) {
    const tab = line.indexOf(TAB, from);
    const until = tab < 0 || tab > end ? end : tab;
    fields.push(line.subarray(from, until));
    from = until + 1;
  }
  if (fields.length !== OBJ36_FIELDS.length)
    throw new DataError(`${where}: ${fields.length} fields, expected ${OBJ36_FIELDS.length} separated by tabs: ${OBJ36_FIELDS.join(', ')}. Is it another kind of TSV, or was it cut off?`);
  return fields;
}

/**
 * A line of ten fields, arrays as base64 of little-endian numbers (ids int64, the rest float32). @throws DataError naming
 * `where` and the field: a length that does not fit `num_boxes`, a number that is not finite, a box outside of its image.
 */
export function parseObj36(line: Buffer, where: string): Obj36Row {
  const [id, h, w, objectIds, objectScores, attributeIds, attributeScores, boxCount, boxes, features] = obj36Fields(line, where).map((f) => f.toString('latin1'));
  const count = whole(boxCount, 'num_boxes', where);
  const [height, width] = [whole(h, 'img_h', where), whole(w, 'img_w', where)];
  const wide = decoded(features, 'features', where);
  if (wide.length % (4 * count)) throw new DataError(`${where}, field features: ${wide.length} bytes cannot be ${count} rows of float32. Was the line cut off?`);
  const row = {
    image: id ?? '',
    width,
    height,
    objects: ids(objectIds, 'objects_id', count, where),
    objectScores: floats(decoded(objectScores, 'objects_conf', where), 'objects_conf', count, where),
    attributes: ids(attributeIds, 'attrs_id', count, where),
    attributeScores: floats(decoded(attributeScores, 'attrs_conf', where), 'attrs_conf', count, where),
    boxes: floats(decoded(boxes, 'boxes', where), 'boxes', 4 * count, where),
    features: floats(wide, 'features', wide.length / 4, where),
  };
  row.boxes.forEach((x, i) => {
    const share = x / (i % 2 ? height : width);
    if (share < -1e-5 || share > 1 + 1e-5)
      throw new DataError(`${where}, field boxes: box ${Math.floor(i / 4)} reaches ${x} outside of the ${width}x${height} image. Columns are img_h before img_w; boxes are in pixels.`);
  });
  return row;
}

function whole(text: string | undefined, field: string, where: string): number {
  const value = Number(text);
  if (!Number.isInteger(value) || value < 1) throw new DataError(`${where}, field ${field}: '${text}' is no whole number of at least 1`);
  return value;
}

/** A copy of its own buffer, so that any number type may be viewed in it. */
function decoded(text: string | undefined, field: string, where: string): Uint8Array<ArrayBuffer> {
  if (text === undefined || !/^[A-Za-z0-9+/]*={0,2}$/.test(text)) throw new DataError(`${where}, field ${field}: not base64`);
  return new Uint8Array(Buffer.from(text, 'base64'));
}

function floats(bytes: Uint8Array<ArrayBuffer>, field: string, count: number, where: string): Float32Array {
  if (bytes.length !== 4 * count) throw new DataError(`${where}, field ${field}: ${bytes.length} bytes, expected ${4 * count} (${count} float32)`);
  const values = new Float32Array(bytes.buffer);
  const bad = values.findIndex((x) => !Number.isFinite(x));
  if (bad >= 0) throw new DataError(`${where}, field ${field}: value ${bad} is ${values[bad]}. Extract the features of this image again.`);
  return values;
}

/** int64 -> the low 32 bits. */
function ids(text: string | undefined, field: string, count: number, where: string): Int32Array {
  const bytes = decoded(text, field, where);
  if (bytes.length !== 8 * count) throw new DataError(`${where}, field ${field}: ${bytes.length} bytes, expected ${8 * count} (${count} int64)`);
  return new Int32Array(bytes.buffer).filter((_, i) => i % 2 === 0);
}
