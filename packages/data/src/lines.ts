import { createReadStream } from 'node:fs';
import { DataError, reasonOf } from './errors.ts';

export interface Line {
  readonly bytes: Buffer;
  readonly offset: number; // in the file
  readonly number: number; // from 1
}

/** The lines of a file of any size; holds one line at a time. Empty lines are passed over. @throws DataError when it cannot be read. */
export async function* lines(file: string): AsyncGenerator<Line> {
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
