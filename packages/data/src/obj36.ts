import { createReadStream } from 'node:fs';
import { open } from 'node:fs/promises';
import { DataError, reasonOf } from './errors.ts';
import { checkFeatureSize, type FeatureDemand } from './feature-demand.ts';
import type { Regions } from './featuriser.ts';
import { obj36Fields, parseObj36, type Obj36Row } from './obj36-row.ts';

interface Line {
  readonly bytes: Buffer;
  readonly offset: number; // in the file
  readonly number: number; // from 1
}

const REMEDY = 'Use the features that backbone was made for, or choose a backbone (size, configuration) for these.';

/** The lines of a file of any size; holds one line at a time. Empty lines are passed over. */
async function* lines(file: string): AsyncGenerator<Line> {
  let rest: Buffer[] = []; // pieces of the line that is not ended yet
  let offset = 0;
  let number = 0;
  const line = (): Line => ({ bytes: rest.length === 1 ? rest[0]! : Buffer.concat(rest), offset, number: ++number });
  try {
    for await (const chunk of createReadStream(file, { highWaterMark: 2 ** 20 })) {
      if (!Buffer.isBuffer(chunk)) continue;
      let from = 0;
      for (let end = chunk.indexOf(10); end >= 0; end = chunk.indexOf(10, from)) {
        rest.push(chunk.subarray(from, end));
        const whole = line();
        if (whole.bytes.length) yield whole;
        offset += whole.bytes.length + 1;
        rest = [];
        from = end + 1;
      }
      if (from < chunk.length) rest.push(chunk.subarray(from));
    }
  } catch (e) {
    if (e instanceof DataError) throw e;
    throw new DataError(`${file} cannot be read (${reasonOf(e)})`);
  }
  if (rest.length) yield line();
}

/** The rows of an `*_obj36.tsv`, one after the other; the file is never held in memory. @throws DataError naming file and line. */
export async function* readObj36(file: string, demand?: FeatureDemand): AsyncGenerator<Obj36Row> {
  for await (const { bytes, number } of lines(file)) {
    const row = parseObj36(bytes, `${file}, line ${number}`);
    checkFeatureSize(row.features.length / (row.boxes.length / 4), demand, `${file}, line ${number}`, REMEDY);
    yield row;
  }
}

/** Where each row of an `*_obj36.tsv` stands, for reading in any order. */
export interface Obj36Index {
  readonly images: readonly string[]; // in the order of the file
  readonly size: number; // F
  row(image: string): Promise<Obj36Row>;
  regions(image: string): Promise<Regions>;
}

/**
 * Runs through the file once and keeps a byte offset per image; rows are read from the disk when asked for. The number of
 * fields is checked on every line now, their content when a row is read. @throws DataError naming file and line.
 */
export async function indexObj36(file: string, demand?: FeatureDemand): Promise<Obj36Index> {
  const places = new Map<string, { offset: number; length: number; number: number }>();
  let size = 0;
  for await (const { bytes, offset, number } of lines(file)) {
    const where = `${file}, line ${number}`;
    const image = obj36Fields(bytes, where)[0]!.toString('latin1');
    const before = places.get(image);
    if (before) throw new DataError(`${where}: image '${image}' stands in line ${before.number} already. Remove one.`);
    if (places.size === 0) {
      const first = parseObj36(bytes, where);
      size = first.features.length / (first.boxes.length / 4);
      checkFeatureSize(size, demand, where, REMEDY);
    }
    places.set(image, { offset, length: bytes.length, number });
  }
  if (!places.size) throw new DataError(`${file}: no rows. It holds one image a line.`);
  const row = async (image: string): Promise<Obj36Row> => {
    const place = places.get(image);
    if (!place) throw new DataError(`${file}: no row of image '${image}' among ${places.size}`);
    const where = `${file}, line ${place.number}`;
    const bytes = Buffer.alloc(place.length);
    const handle = await open(file);
    try {
      const { bytesRead } = await handle.read(bytes, 0, place.length, place.offset);
      if (bytesRead !== place.length) throw new DataError(`${where}: the file became shorter since it was indexed`);
    } finally {
      await handle.close();
    }
    const read = parseObj36(bytes, where);
    if (read.image !== image) throw new DataError(`${where}: holds image '${read.image}' where '${image}' was indexed; the file was changed. Open it again.`);
    const found = read.features.length / (read.boxes.length / 4);
    if (found !== size) throw new DataError(`${where}: ${found} numbers per region, those before ${size}. Extract the features of this image again.`);
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
