import { CheckpointError, elementsOf, storedSize } from '@espalier/core';
import { ZipWriter } from '@zip.js/zip.js/lib/zip-core-writer.js';
import type { ByteSink } from './byte-sink.ts';
import { statePickle } from './state-pickle.ts';
import { bytesOf, type TensorToWrite } from './tensor-bytes.ts';

const ROOT = 'archive';

/**
 * Writes what `torch.load` reads: a zip of torch.save with an ordered dictionary of tensors, by name, every tensor with a
 * storage of its own. One tensor is held at a time; equal tensors give equal files. @throws CheckpointError naming the
 * tensor that its type cannot hold.
 */
export async function writeTorchZipTo(sink: ByteSink, entries: readonly TensorToWrite[]): Promise<void> {
  const tensors = [...entries].sort((a, b) => (a.name < b.name ? -1 : 1));
  const twice = tensors.find(({ name }, i) => name === tensors[i - 1]?.name);
  if (twice) throw new CheckpointError(`tensor '${twice.name}' stands there twice`);
  const zip = new ZipWriter(new WritableStream<Uint8Array>({ write: (bytes) => sink.write(bytes) }), {
    level: 0, extendedTimestamp: false, lastModDate: new Date(1980, 0, 1), useWebWorkers: false,
  });
  const add = (name: string, pieces: AsyncIterable<Uint8Array> | Iterable<Uint8Array>, size: number) => zip.add(`${ROOT}/${name}`, { readable: streamOf(pieces), size });
  const pickle = statePickle(tensors);
  await add('data.pkl', [pickle], pickle.length);
  await add('byteorder', [ascii('little')], 6);
  for (const [i, tensor] of tensors.entries()) await add(`data/${i}`, bytesOf(tensor), elementsOf(tensor.shape)! * storedSize(tensor.dtype));
  await add('version', [ascii('3\n')], 2);
  await zip.close();
}

const ascii = (text: string) => new TextEncoder().encode(text);

async function* each(pieces: AsyncIterable<Uint8Array> | Iterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  yield* pieces;
}

function streamOf(pieces: AsyncIterable<Uint8Array> | Iterable<Uint8Array>): ReadableStream<Uint8Array> {
  const iterator = each(pieces);
  return new ReadableStream({
    pull: async (controller) => {
      const { done, value } = await iterator.next();
      if (done) controller.close();
      else controller.enqueue(value);
    },
  });
}
