import { mkdir, open, readFile, type FileHandle } from 'node:fs/promises';
import { dirname } from 'node:path';
import { EspalierError } from '@espalier/core';
import { isCode, writeWhole } from './file-store.ts';

/** Where records of a run go. */
export interface MetricSink {
  /** Begins after the first `records` of what is there and drops the rest; 0 begins anew. */
  open(records: number): Promise<void>;
  write(record: Readonly<Record<string, unknown>>): Promise<void>;
  /** Makes durable what was written. */
  flush(): Promise<void>;
  close(): Promise<void>;
}

/** The fields of a record that tell time and so differ between a run and its repetition. */
export const TIME_FIELDS: readonly string[] = ['time', 'samplesPerSecond', 'eta'];

/**
 * A `metrics.jsonl`: one JSON object a line. A resumed run cuts it to what its checkpoint knew, so that it ends up equal
 * to the uninterrupted run's but for `TIME_FIELDS`. @throws EspalierError from `open` when the file has fewer lines than that.
 */
export function metricsFile(path: string): MetricSink {
  let file: FileHandle | undefined;
  const opened = () => {
    if (!file) throw new EspalierError(`${path} is not open`);
    return file;
  };
  return {
    open: async (records) => {
      await mkdir(dirname(path), { recursive: true });
      const text = records === 0 ? '' : await readText(path);
      const lines = text.split('\n').slice(0, -1); // what follows the last line end is a line cut off
      if (lines.length < records)
        throw new EspalierError(`${path} has ${lines.length} lines, the checkpoint was written after ${records}. Put the run's file back, name another run's directory, or start anew.`);
      await writeWhole(path, new TextEncoder().encode(lines.slice(0, records).map((line) => `${line}\n`).join('')));
      file = await open(path, 'a');
    },
    write: async (record) => {
      await opened().appendFile(`${JSON.stringify(record)}\n`);
    },
    flush: () => opened().sync(),
    close: async () => {
      await file?.close();
      file = undefined;
    },
  };
}

async function readText(path: string): Promise<string> {
  try {
    return await readFile(path, 'utf8');
  } catch (e) {
    if (isCode(e, 'ENOENT')) return '';
    throw e;
  }
}
