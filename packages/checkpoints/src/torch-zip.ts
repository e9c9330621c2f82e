import { CheckpointError, storedSize } from '@espalier/core';
import { ZipReader, type Entry, type Reader } from '@zip.js/zip.js/lib/zip-core-reader.js';
import { readBytes, type ByteSource } from './byte-source.ts';
import type { Checkpoint } from './checkpoint.ts';
import { unpickle } from './pickle.ts';
import type { Storage } from './pickle-values.ts';
import { stateDict } from './torch-state-dict.ts';
import { torchTensor, type Locate } from './torch-tensors.ts';

const MOST_ENTRIES = 2 ** 16;
const DIRECTORY_LIMIT = 64 * 2 ** 20; // bytes read at once while listing
const PICKLE_LIMIT = 128 * 2 ** 20;

/**
 * Opens what torch.save writes since 1.6: a zip of `ROOT/data.pkl` and a file `ROOT/data/KEY` per storage, all stored as
 * they are. @throws CheckpointError; the source then stays open.
 */
export async function openTorchZip(source: ByteSource): Promise<Checkpoint> {
  const entries = await listEntries(source);
  const pickles = [...entries.keys()].filter((name) => /^(?:[^/]+\/)?data\.pkl$/.test(name));
  const [pickle] = pickles;
  if (pickle === undefined || pickles.length > 1) throw new CheckpointError(`${source.name}: the zip holds ${pickles.length} files data.pkl in its root folder, expected one: it is not from torch.save (TorchScript is not read)`);
  const root = pickle.slice(0, -'data.pkl'.length);
  if (entries.has(`${root}constants.pkl`)) throw new CheckpointError(`${source.name}: is TorchScript (it has constants.pkl), which is code. Save the state dict instead: torch.save(model.state_dict(), file)`);
  await checkByteOrder(source, entries.get(`${root}byteorder`));
  const data = await readEntry(source, entryOf(source, entries, pickle), PICKLE_LIMIT);
  const { value, end } = unpickle(data, 0, source.name);
  if (end !== data.byteLength) throw new CheckpointError(`${source.name}: ${data.byteLength - end} bytes follow the pickle in ${pickle}`);
  const views = stateDict(value, source.name);
  for (const { storage } of views.values()) checkedEntry(source, entries, root, storage);
  const locate = once((storage) => dataOffset(source, checkedEntry(source, entries, root, storage)));
  const tensors = new Map([...views].map(([name, view]) => [name, torchTensor(view, source, locate)] as const));
  return { name: source.name, format: 'torch-zip', tensors, metadata: {}, close: () => source.close() };
}

/** The central directory's entries by name. Local headers of torch's zips have no sizes. */
async function listEntries(source: ByteSource): Promise<ReadonlyMap<string, Entry>> {
  const entries = new Map<string, Entry>();
  try {
    // 'strict' takes offence at the zip64 record that torch writes where none is needed
    const zip = new ZipReader(zipReader(source), { strictness: 'balanced', maxAppendedDataSize: 0 });
    for await (const entry of zip.getEntriesGenerator()) {
      if (entries.size >= MOST_ENTRIES) throw new CheckpointError(`${source.name}: the zip has more than ${MOST_ENTRIES} entries; refused`);
      if (entries.has(entry.filename)) throw new CheckpointError(`${source.name}: ${entry.filename} stands twice in the zip; refused`);
      entries.set(entry.filename, entry);
    }
  } catch (e) {
    if (e instanceof CheckpointError) throw e;
    throw new CheckpointError(`${source.name}: the zip cannot be listed (${e instanceof Error ? e.message : String(e)}); was the file cut off? Download or save it again`, { cause: e });
  }
  return entries;
}

/** A source as zip.js reads it: as much as there is from `index` on. */
function zipReader(source: ByteSource): Reader<unknown> {
  const unused = () => {
    throw new CheckpointError(`${source.name}: entries are not streamed`);
  };
  return {
    size: source.size,
    readUint8Array: (index, length) => {
      const there = Math.min(length, Math.max(0, source.size - index));
      if (there > DIRECTORY_LIMIT) throw new CheckpointError(`${source.name}: the zip's directory claims ${there} bytes; refused`);
      return readBytes(source, index, there);
    },
    get readable() {
      return unused();
    },
    createReadable: unused,
  };
}

function entryOf(source: ByteSource, entries: ReadonlyMap<string, Entry>, name: string): Entry {
  const entry = entries.get(name);
  if (!entry) throw new CheckpointError(`${source.name}: ${name} is missing in the zip`);
  if (entry.compressionMethod !== 0 || entry.encrypted || entry.compressedSize !== entry.uncompressedSize)
    throw new CheckpointError(`${source.name}: ${name} is ${entry.encrypted ? 'encrypted' : 'compressed'} in the zip; torch.save stores it as it is. Unpack it and pack it without compression (zip -0 -r), or save it again`);
  if (entry.uncompressedSize > source.size - entry.offset) throw new CheckpointError(`${source.name}: ${name} claims ${entry.uncompressedSize} bytes from byte ${entry.offset} of ${source.size}`);
  return entry;
}

function checkedEntry(source: ByteSource, entries: ReadonlyMap<string, Entry>, root: string, { key, dtype, count }: Storage): Entry {
  const name = `${root}data/${key}`;
  const entry = entryOf(source, entries, name);
  const expected = count * storedSize(dtype);
  if (entry.uncompressedSize !== expected) throw new CheckpointError(`${source.name}: ${name} has ${entry.uncompressedSize} bytes, ${count} values ${dtype} need ${expected}`);
  return entry;
}

/** Where the bytes of an entry begin: behind its local header, whose name and padding have lengths of their own. */
async function dataOffset(source: ByteSource, { offset, uncompressedSize, filename }: Entry): Promise<number> {
  const header = await readBytes(source, offset, 30);
  const view = new DataView(header.buffer);
  if (view.getUint32(0, true) !== 0x04034b50) throw new CheckpointError(`${source.name}: ${filename} has no header at byte ${offset}`);
  if (view.getUint16(8, true) !== 0) throw new CheckpointError(`${source.name}: ${filename} is compressed by its own header, stored by the zip's directory`);
  const start = offset + 30 + view.getUint16(26, true) + view.getUint16(28, true);
  if (uncompressedSize > source.size - start) throw new CheckpointError(`${source.name}: ${filename} claims ${uncompressedSize} bytes from byte ${start} of ${source.size}`);
  return start;
}

async function readEntry(source: ByteSource, entry: Entry, limit: number): Promise<Uint8Array> {
  if (entry.uncompressedSize > limit) throw new CheckpointError(`${source.name}: ${entry.filename} has ${entry.uncompressedSize} bytes, at most ${limit} are read`);
  return readBytes(source, await dataOffset(source, entry), entry.uncompressedSize);
}

async function checkByteOrder(source: ByteSource, entry: Entry | undefined): Promise<void> {
  if (!entry) return; // files before torch 2.1 have none and are little endian
  const text = new TextDecoder().decode(await readEntry(source, entryOf(source, new Map([[entry.filename, entry]]), entry.filename), 16)).trim();
  if (text !== 'little') throw new CheckpointError(`${source.name}: byteorder is '${text}', only 'little' is read. Save the file again on a little-endian machine`);
}

/** Asks once per storage: tensors that share one find it where the first did. */
function once(locate: Locate): Locate {
  const found = new Map<string, number>();
  return async (storage) => {
    const offset = found.get(storage.key) ?? (await locate(storage));
    found.set(storage.key, offset);
    return offset;
  };
}
