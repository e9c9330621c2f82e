import { DataError } from './errors.ts';
import { decoded, floats, regionArrays, tsvFields, whole, type RegionRow } from './tsv-fields.ts';

/** One image of LXMERT's `*_obj36.tsv`; n boxes. */
export interface Obj36Row extends RegionRow {
  readonly objects: Int32Array; // [n] Visual Genome object ids
  readonly objectScores: Float32Array; // [n]
  readonly attributes: Int32Array; // [n]
  readonly attributeScores: Float32Array; // [n]
}

export const OBJ36_FIELDS = ['img_id', 'img_h', 'img_w', 'objects_id', 'objects_conf', 'attrs_id', 'attrs_conf', 'num_boxes', 'boxes', 'features'] as const;

/**
 * A line of ten fields, arrays as base64 of little-endian numbers (ids int64, the rest float32). @throws DataError naming
 * `where` and the field: a length that does not fit `num_boxes`, a number that is not finite, a box outside of its image.
 */
export function parseObj36(line: Buffer, where: string): Obj36Row {
  const [id, h, w, objectIds, objectScores, attributeIds, attributeScores, boxCount, boxes, features] = tsvFields(line, OBJ36_FIELDS, where).map((f) => f.toString('latin1'));
  const count = whole(boxCount, 'num_boxes', where);
  const [height, width] = [whole(h, 'img_h', where), whole(w, 'img_w', where)];
  return {
    image: id ?? '',
    width,
    height,
    ...regionArrays({ boxes, features }, { count, width, height }, where, 'Columns are img_h before img_w; boxes are in pixels.'),
    objects: ids(objectIds, 'objects_id', count, where),
    objectScores: floats(decoded(objectScores, 'objects_conf', where), 'objects_conf', count, where),
    attributes: ids(attributeIds, 'attrs_id', count, where),
    attributeScores: floats(decoded(attributeScores, 'attrs_conf', where), 'attrs_conf', count, where),
  };
}

/** int64 -> the low 32 bits. */
function ids(text: string | undefined, field: string, count: number, where: string): Int32Array {
  const bytes = decoded(text, field, where);
  if (bytes.length !== 8 * count) throw new DataError(`${where}, field ${field}: ${bytes.length} bytes, expected ${8 * count} (${count} int64)`);
  return new Int32Array(bytes.buffer).filter((_, i) => i % 2 === 0);
}
