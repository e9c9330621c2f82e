import { CheckpointError } from '@espalier/core';

/** Bytes that can be read at any place: a file, a Blob, an array. Reading beyond `size` throws. */
export interface ByteSource {
  readonly name: string; // for messages: a path, a URL
  readonly size: number;
  /** Fills `target` with the bytes from `offset` on. */
  read(offset: number, target: Uint8Array): Promise<void>;
  close(): Promise<void>;
}

/** An array in memory as a source. */
export function bytesSource(bytes: Uint8Array, name: string): ByteSource {
  return {
    name,
    size: bytes.byteLength,
    read: async (offset, target) => {
      checkRange({ name, size: bytes.byteLength }, offset, target.byteLength);
      target.set(bytes.subarray(offset, offset + target.byteLength));
    },
    close: async () => {},
  };
}

/** A Blob as a source, a browser's File for one: only what is asked for is read. */
export function blobSource(blob: Blob, name: string): ByteSource {
  return {
    name,
    size: blob.size,
    read: async (offset, target) => {
      checkRange({ name, size: blob.size }, offset, target.byteLength);
      target.set(new Uint8Array(await blob.slice(offset, offset + target.byteLength).arrayBuffer()));
    },
    close: async () => {},
  };
}

/** @throws CheckpointError unless `length` bytes from `offset` on are inside. */
export function checkRange({ name, size }: Pick<ByteSource, 'name' | 'size'>, offset: number, length: number): void {
  if (!Number.isSafeInteger(offset) || offset < 0 || length > size - offset)
    throw new CheckpointError(`${name}: bytes ${offset} to ${offset + length} are beyond its ${size} bytes; was the file cut off?`);
}

/** `length` bytes from `offset` on, in memory of their own that is allocated once the range is known to be inside. */
export async function readBytes(source: ByteSource, offset: number, length: number): Promise<Uint8Array<ArrayBuffer>> {
  checkRange(source, offset, length);
  const bytes = new Uint8Array(allocate(length, source.name));
  if (length > 0) await source.read(offset, bytes);
  return bytes;
}

/** New memory. @throws CheckpointError when there is not so much. */
export function allocate(bytes: number, who: string): ArrayBuffer {
  try {
    return new ArrayBuffer(bytes);
  } catch (e) {
    throw new CheckpointError(`${who}: ${bytes} bytes of memory are needed at once and not to be had`, { cause: e });
  }
}
