import { CheckpointError, storedSize } from '@espalier/core';
import { readBytes, type ByteSource } from './byte-source.ts';
import type { Checkpoint } from './checkpoint.ts';
import { CutOffError } from './pickle-cursor.ts';
import { asKind, describe, type Pickled, type Storage } from './pickle-values.ts';
import { unpickle, type Unpickled } from './pickle.ts';
import { stateDict } from './torch-state-dict.ts';
import { torchTensor } from './torch-tensors.ts';

const MAGIC = 0x1950a86a20f9469cfc6cn; // 77 bits
const PROTOCOL = 1001;
const FIRST_WINDOW = 2 ** 20;
const LARGEST_WINDOW = 128 * 2 ** 20;

/**
 * Opens what torch.save wrote before 1.6: five pickles (a magic number, 1001, the byte order, the object, the storages'
 * keys), then per key a count (i64) and as many values, to the end of the file. @throws CheckpointError; the source then
 * stays open.
 */
export async function openTorchLegacy(source: ByteSource): Promise<Checkpoint> {
  const { object, keys } = await readPickles(source);
  const views = stateDict(object.value, source.name);
  const offsets = await locateStorages(source, keys, object.storages);
  const tensors = new Map(
    [...views].map(([name, view]) => {
      const offset = offsets.get(view.storage.key);
      if (offset === undefined) throw new CheckpointError(`${source.name}: tensor '${name}' lies in storage '${view.storage.key}', which does not follow the pickles`);
      return [name, torchTensor(view, source, async () => offset)] as const;
    }),
  );
  return { name: source.name, format: 'torch-legacy', tensors, metadata: {}, close: () => source.close() };
}

interface Pickles {
  readonly object: Unpickled;
  readonly keys: Unpickled;
}

/** Reads as much of the file as the pickles turn out to need: where they end is known only then. */
async function readPickles(source: ByteSource): Promise<Pickles> {
  for (let size = FIRST_WINDOW; ; size *= 4) {
    const window = await readBytes(source, 0, Math.min(size, LARGEST_WINDOW, source.size));
    try {
      return fivePickles(window, source.name);
    } catch (e) {
      if (!(e instanceof CutOffError) || window.byteLength === source.size) throw e;
      if (size >= LARGEST_WINDOW) throw new CheckpointError(`${source.name}: its pickles need more than ${LARGEST_WINDOW} bytes; refused`);
    }
  }
}

function fivePickles(window: Uint8Array, who: string): Pickles {
  const plain = (value: Pickled) => (typeof value === 'number' || typeof value === 'bigint' ? value : `a ${describe(value)}`);
  const magic = unpickle(window, 0, who);
  if (magic.value !== MAGIC) throw new CheckpointError(`${who}: is a pickle, but not of torch.save: its first value is ${plain(magic.value)}, not the magic number. Save the state dict with torch.save`);
  const protocol = unpickle(window, magic.end, who);
  if (protocol.value !== PROTOCOL) throw new CheckpointError(`${who}: the stream is of protocol ${plain(protocol.value)}, expected ${PROTOCOL}`);
  const system = unpickle(window, protocol.end, who);
  if (asKind(system.value, 'dict')?.entries.get('little_endian') !== true) throw new CheckpointError(`${who}: was not saved on a little-endian machine; only such files are read`);
  const object = unpickle(window, system.end, who);
  return { object, keys: unpickle(window, object.end, who) };
}

/** The byte at which each storage's values begin. Listed and used storages must be the same and fill the file. */
async function locateStorages(source: ByteSource, keys: Unpickled, storages: ReadonlyMap<string, Storage>): Promise<ReadonlyMap<string, number>> {
  const list = asKind(keys.value, 'list')?.items;
  if (!list) throw new CheckpointError(`${source.name}: the keys of its storages are a ${describe(keys.value)}, expected a list`);
  const offsets = new Map<string, number>();
  let at = keys.end;
  for (const key of list) {
    const storage = typeof key === 'string' ? storages.get(key) : undefined;
    if (!storage || offsets.has(storage.key)) throw new CheckpointError(`${source.name}: ${typeof key === 'string' ? `storage '${key.slice(0, 60)}' is listed ${storage ? 'twice' : 'but used by no tensor'}` : `a ${describe(key)} is listed as storage`}`);
    const { buffer } = await readBytes(source, at, 8);
    const count = Number(new DataView(buffer).getBigInt64(0, true));
    if (count !== storage.count) throw new CheckpointError(`${source.name}: storage '${storage.key}' has ${count} values at byte ${at}, its tensors expect ${storage.count}`);
    at += 8;
    offsets.set(storage.key, at);
    at += count * storedSize(storage.dtype);
    if (at > source.size) throw new CheckpointError(`${source.name}: storage '${storage.key}' ends at byte ${at} of ${source.size}; the file was cut off`);
  }
  if (at !== source.size) throw new CheckpointError(`${source.name}: ${source.size - at} bytes follow its last storage`);
  return offsets;
}
