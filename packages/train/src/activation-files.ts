import { mkdirSync, readdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { crc32 } from 'node:zlib';
import { OptionsError, type ActivationStore } from '@espalier/core';
import { isCode } from './file-store.ts';

const HEADER = 12; // bytes: 'EACT', length in floats, CRC-32 of what follows
const MAGIC = 0x54434145;

/**
 * Keeps activations as files of a folder, up to so many bytes, and nothing more once they are used up. Files outlive the
 * process: their names are hashes that stand for weights, frozen plugins and sample. A damaged file is removed and made again.
 * @throws OptionsError when the folder cannot be made.
 */
export function activationFiles(directory: string, { bytes = 16 * 2 ** 30 }: { readonly bytes?: number } = {}): ActivationStore & { readonly dropped: number } {
  try {
    mkdirSync(directory, { recursive: true });
  } catch (e) {
    throw new OptionsError(`activationFiles: '${directory}' cannot be made a folder: ${e instanceof Error ? e.message : String(e)}`, { cause: e });
  }
  let used = sizeOf(directory);
  let dropped = 0;
  const folder = (key: string) => join(directory, key.slice(0, 2)); // of a few hundred files each
  return {
    persistent: true,
    get: (key) => {
      const path = join(folder(key), key);
      const found = readWhole(path);
      if (!found) return undefined;
      const values = valuesOf(found);
      if (values) return values;
      rmSync(path, { force: true });
      used -= found.byteLength;
      dropped++;
      return undefined;
    },
    set: (key, values) => {
      const size = HEADER + values.byteLength;
      if (used + size > bytes) return false;
      mkdirSync(folder(key), { recursive: true });
      const temporary = join(folder(key), `.tmp-${process.pid}-${key}`);
      writeFileSync(temporary, fileOf(values));
      renameSync(temporary, join(folder(key), key));
      used += size;
      return true;
    },
    get dropped() {
      return dropped;
    },
  };
}

function fileOf(values: Float32Array): Uint8Array {
  const bytes = Buffer.alloc(HEADER + values.byteLength);
  bytes.set(new Uint8Array(values.buffer, values.byteOffset, values.byteLength), HEADER);
  bytes.writeUInt32LE(MAGIC, 0);
  bytes.writeUInt32LE(values.length, 4);
  bytes.writeUInt32LE(crc32(bytes.subarray(HEADER)), 8);
  return bytes;
}

/** What a file holds; undefined when it is not whole. */
function valuesOf(bytes: Buffer): Float32Array | undefined {
  if (bytes.length < HEADER || bytes.readUInt32LE(0) !== MAGIC || bytes.length !== HEADER + 4 * bytes.readUInt32LE(4)) return undefined;
  const content = bytes.subarray(HEADER);
  if (crc32(content) !== bytes.readUInt32LE(8)) return undefined;
  return new Float32Array(content.buffer.slice(content.byteOffset, content.byteOffset + content.byteLength)); // at a multiple of four
}

function readWhole(path: string): Buffer | undefined {
  try {
    return readFileSync(path);
  } catch (e) {
    if (isCode(e, 'ENOENT', 'ENOTDIR')) return undefined;
    throw e;
  }
}

/** Bytes of all files of a folder. */
const sizeOf = (directory: string): number =>
  readdirSync(directory, { withFileTypes: true }).reduce((sum, entry) => {
    const path = join(directory, entry.name);
    return sum + (entry.isDirectory() ? sizeOf(path) : statSync(path).size);
  }, 0);
