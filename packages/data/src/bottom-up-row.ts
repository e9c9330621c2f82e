import { regionArrays, tsvFields, whole, type RegionRow } from './tsv-fields.ts';

export const BOTTOM_UP_FIELDS = ['image_id', 'image_w', 'image_h', 'num_boxes', 'boxes', 'features'] as const;

/**
 * A line of the bottom-up-attention TSV (arXiv 1707.07998): six fields, the width *before* the height, boxes and features as
 * base64 of little-endian float32. @throws DataError naming `where` and the field.
 */
export function parseBottomUp(line: Buffer, where: string): RegionRow {
  const [image = '', w, h, boxCount, boxes, features] = tsvFields(line, BOTTOM_UP_FIELDS, where).map((f) => f.toString('latin1'));
  const count = whole(boxCount, 'num_boxes', where);
  const [width, height] = [whole(w, 'image_w', where), whole(h, 'image_h', where)];
  return { image, width, height, ...regionArrays({ boxes, features }, { count, width, height }, where, 'Columns are image_w before image_h; boxes are in pixels.') };
}
