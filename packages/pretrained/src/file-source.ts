import { open } from 'node:fs/promises';
import { CheckpointError } from '@espalier/core';
import type { ByteSource } from '@espalier/checkpoints';

/** A file as bytes at any place; nothing is read before it is asked for. @throws what the system says when the file cannot be opened; CheckpointError for a folder. */
export async function fileSource(path: string): Promise<ByteSource> {
  const handle = await open(path, 'r');
  try {
    const found = await handle.stat();
    if (!found.isFile()) throw new CheckpointError(`${path} is no file. Give one of the files in it.`);
    const { size } = found;
    return {
      name: path,
      size,
      read: async (offset, target) => {
        if (offset < 0 || offset + target.length > size)
          throw new CheckpointError(`${path}: bytes ${offset} to ${offset + target.length} were asked for, the file has ${size}. It may have been cut off; get it again.`);
        for (let done = 0; done < target.length; ) {
          const { bytesRead } = await handle.read(target, done, target.length - done, offset + done);
          if (bytesRead === 0) throw new CheckpointError(`${path}: it ended at byte ${offset + done} and had ${size} when it was opened. Something else is writing to it.`);
          done += bytesRead;
        }
      },
      close: () => handle.close(),
    };
  } catch (e) {
    await handle.close();
    throw e;
  }
}
