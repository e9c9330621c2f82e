import { open } from 'node:fs/promises';
import { BOTTOM_UP_FIELDS, parseBottomUp } from './bottom-up-row.ts';
import { DataError } from './errors.ts';
import { checkFeatureSize, type FeatureDemand } from './feature-demand.ts';
import type { Regions } from './featuriser.ts';
import { lines, type Line } from './lines.ts';
import { OBJ36_FIELDS, parseObj36, type Obj36Row } from './obj36-row.ts';
import { splitTabs, tsvFields, type RegionRow } from './tsv-fields.ts';

interface Layout<R extends RegionRow> {
  readonly fields: readonly string[];
  readonly parse: (line: Buffer, where: string) => R;
}

const obj36: Layout<Obj36Row> = { fields: OBJ36_FIELDS, parse: parseObj36 };
const bottomUp: Layout<RegionRow> = { fields: BOTTOM_UP_FIELDS, parse: parseBottomUp };

const REMEDY = 'Use the features that backbone was made for, or choose a backbone (size, configuration) for these.';

/** Where each row of a TSV of regions stands, for reading in any order. */
export interface RegionTsvIndex<R extends RegionRow> {
  readonly images: readonly string[]; // in the order of the file
  readonly size: number; // F
  row(image: string): Promise<R>;
  regions(image: string): Promise<Regions>;
}
export type Obj36Index = RegionTsvIndex<Obj36Row>;

/** The rows of LXMERT's `*_obj36.tsv`, one after the other; the file is never held in memory. @throws DataError naming file and line. */
export const readObj36 = (file: string, demand?: FeatureDemand): AsyncGenerator<Obj36Row> => readRows(file, obj36, demand);

/** The rows of a bottom-up-attention TSV: image_id, image_w, image_h, num_boxes, boxes, features. As `readObj36`. */
export const readBottomUp = (file: string, demand?: FeatureDemand): AsyncGenerator<RegionRow> => readRows(file, bottomUp, demand);

/**
 * Runs through the file once and keeps a byte offset per image; rows are read from the disk when asked for. The number of
 * fields is checked on every line now, their content when a row is read. `first` indexes that many rows and reads no
 * further. @throws DataError naming file and line.
 */
export const indexObj36 = (file: string, demand?: FeatureDemand, first?: number): Promise<Obj36Index> => index(file, () => obj36, demand, first);

/** `indexObj36` for either layout: ten fields are obj36, six are bottom-up. */
export const indexRegionTsv = (file: string, demand?: FeatureDemand, first?: number): Promise<RegionTsvIndex<RegionRow>> =>
  index<RegionRow>(file, ({ bytes }) => (splitTabs(bytes).length === BOTTOM_UP_FIELDS.length ? bottomUp : obj36), demand, first);

async function* readRows<R extends RegionRow>(file: string, { parse }: Layout<R>, demand: FeatureDemand | undefined): AsyncGenerator<R> {
  for await (const { bytes, number } of lines(file)) {
    const where = `${file}, line ${number}`;
    const row = parse(bytes, where);
    checkFeatureSize(widthOf(row), demand, where, REMEDY);
    yield row;
  }
}

async function index<R extends RegionRow>(file: string, layoutOf: (first: Line) => Layout<R>, demand: FeatureDemand | undefined, first = Infinity): Promise<RegionTsvIndex<R>> {
  const places = new Map<string, { offset: number; length: number; number: number }>();
  let layout: Layout<R> | undefined;
  let size = 0;
  for await (const line of lines(file)) {
    if (places.size >= first) break;
    const { bytes, offset, number } = line;
    const where = `${file}, line ${number}`;
    layout ??= layoutOf(line);
    const image = tsvFields(bytes, layout.fields, where)[0]!.toString('latin1');
    const before = places.get(image);
    if (before) throw new DataError(`${where}: image '${image}' stands in line ${before.number} already. Remove one.`);
    if (places.size === 0) {
      size = widthOf(layout.parse(bytes, where));
      checkFeatureSize(size, demand, where, REMEDY);
    }
    places.set(image, { offset, length: bytes.length, number });
  }
  if (!layout) throw new DataError(`${file}: no rows. It holds one image a line.`);
  const { parse } = layout;
  const row = async (image: string): Promise<R> => {
    const place = places.get(image);
    if (!place) throw new DataError(`${file}: no row of image '${image}' among ${places.size}`);
    const where = `${file}, line ${place.number}`;
    const read = parse(await bytesAt(file, place, where), where);
    if (read.image !== image) throw new DataError(`${where}: holds image '${read.image}' where '${image}' was indexed; the file was changed. Open it again.`);
    if (widthOf(read) !== size) throw new DataError(`${where}: ${widthOf(read)} numbers per region, those before ${size}. Extract the features of this image again.`);
    return read;
  };
  return {
    images: [...places.keys()],
    size,
    row,
    regions: async (image) => {
      const { features, boxes, width, height } = await row(image);
      return { features, boxes, width, height };
    },
  };
}

async function bytesAt(file: string, { offset, length }: { readonly offset: number; readonly length: number }, where: string): Promise<Buffer> {
  const bytes = Buffer.alloc(length);
  const handle = await open(file);
  try {
    const { bytesRead } = await handle.read(bytes, 0, length, offset);
    if (bytesRead !== length) throw new DataError(`${where}: the file became shorter since it was indexed`);
  } finally {
    await handle.close();
  }
  return bytes;
}

const widthOf = ({ features, boxes }: RegionRow) => features.length / (boxes.length / 4);
